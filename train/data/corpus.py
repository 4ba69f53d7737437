"""Text corpora: paragraphs out of the files of documentation packages, in a train and a held-out part.

    python -m ziprerank.train.data.corpus OUT [--packages NAME ...]

downloads Debian packages (needs ``apt-get`` and ``dpkg-deb``) and writes their text to OUT/text, one file a document,
paragraphs separated by blank lines. ``paragraphs`` reads such a folder, or any folder of .txt, .html, .pod and
manual pages.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ziprerank.train.errors import TrainError

from .markup import TEXT_NAMES, read_document
from .packages import download

# of Debian 12; each package's /usr/share/doc/*/copyright has its licence
PACKAGES = (
    "perl-doc=5.36.0-7+deb12u4",
    "python3.11-doc=3.11.2-6+deb12u9",
    "postgresql-doc-15=15.20-0+deb12u1",
    "git-doc=1:2.39.5-0+deb12u3",
    "manpages=6.03-2",
    "manpages-dev=6.03-2",
    "gimp-help-en=2.10.34-2",
    "gnucash-docs=4.13-1",
    "debian-reference-en=2.100",
    "fortunes=1:1.99.1-7.3",
    "info=6.8-6+b1",
)
SPLITS = ("train", "held-out")
HELD_OUT = 10  # percent of documents
# translations; the same manual in a second form, which would put one text into both splits; lists; crude jokes
SKIPPED = re.compile(
    r"-(guide|help)-(de|it|ja|pt|ru)/|/_sources/|/man1/perl|debian-reference\.en\.txt"
    r"|changelog|copyright|genindex|bookindex|perltoc|perluniprops|/contents\.html|/lintian/"
    r"|fortunes/(zippy|ethnic|men-women|love|drugs|off)"
)


def split_of(document: str) -> str:
    """Which part a document of this name (its path under the corpus folder, with ``/``) is in: 10% are held out."""
    return SPLITS[int(hashlib.sha256(document.encode()).hexdigest(), 16) % 100 < HELD_OUT]


def documents(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """(name, paragraphs) of each readable file under ``folder``, sorted by name. TrainError if there is no folder."""
    if not folder.is_dir():
        raise TrainError(f"no folder {folder}: give one of .txt, .html, .pod files or manual pages")
    for path in sorted(path for path in folder.rglob("*") if TEXT_NAMES.search(path.name)):
        if path.is_file() and not path.is_symlink():
            yield path.relative_to(folder).as_posix(), read_document(path)


def paragraphs(folder: Path, split: str, *, words: int = 5) -> Iterator[str]:
    """The distinct paragraphs of at least ``words`` words of one split ("train", "held-out"), document by document.

    Documents are split by a hash of their name. A paragraph that several documents hold counts for the first of them
    only, so no paragraph is in both splits. One paragraph is one line with single spaces. TrainError for another split.
    """
    if split not in SPLITS:
        raise TrainError(f"split {split!r}: one of {', '.join(SPLITS)}")
    seen: set[bytes] = set()
    for name, texts in documents(folder):
        wanted = split_of(name) == split
        for text in texts:
            if text.count(" ") + 1 < words:
                continue
            digest = hashlib.blake2b(text.encode(), digest_size=12).digest()
            if digest in seen:
                continue
            seen.add(digest)
            if wanted:
                yield text


def extract(source: Path, package: str, target: Path) -> int:
    """Writes each document under ``source`` but the SKIPPED to ``target``/PACKAGE__PATH.txt; the characters written."""
    target.mkdir(parents=True, exist_ok=True)
    written = 0
    for name, texts in documents(source):
        twin = (source / name).with_suffix(".html")  # of a .txt: the source that the page was made from
        if not texts or SKIPPED.search(name) or (name.endswith(".txt") and twin.exists()):
            continue
        short = name.removeprefix("usr/share/").removeprefix("doc/").replace("/", "_")
        text = "\n\n".join(texts) + "\n"
        (target / f"{package}__{short[-150:]}.txt").write_text(text, encoding="utf-8")
        written += len(text)
    return written


def main(arguments: Sequence[str] | None = None) -> None:
    """Downloads packages of documentation into OUT/packages and writes their text to OUT/text."""
    parser = argparse.ArgumentParser(prog="python -m ziprerank.train.data.corpus", description=main.__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--packages", nargs="+", default=PACKAGES, metavar="NAME[=VERSION]", help="instead of the pinned"
    )
    chosen = parser.parse_args(arguments)
    for package in chosen.packages:
        source = download(package, chosen.out / "packages")
        written = extract(source, source.name, chosen.out / "text")
        print(f"{package}: {written / 1e6:.1f} million characters")


if __name__ == "__main__":
    main()
