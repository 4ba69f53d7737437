"""Fetch PDF manuals from documentation packages: the real pages that the model in the box was trained on.

    python -m ziprerank.train.data.manuals OUT [--packages NAME ...]

downloads Debian packages (needs ``apt-get`` and ``dpkg-deb``; the pinned ones are 0.6 GB, 1.3 GB unpacked) and unpacks
them under OUT, their compressed PDFs too. `ziprerank.train.data.page_store` makes a store of such a folder.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
from collections.abc import Sequence
from pathlib import Path

from .packages import download

# of Debian 12; each package's /usr/share/doc/*/copyright has its licence
PACKAGES = (
    "asymptote-doc=2.85+ds-1",
    "auto-multiple-choice-doc-pdf=1.6.0-1",
    "debian-handbook=11.20220922",
    "debian-reference-en=2.100",
    "docbook-xsl-doc-pdf=1.79.1-1",
    "gap-doc=4.12.1-2",
    "ghostscript-doc=10.0.0~dfsg-11+deb12u9",
    "installation-guide-amd64=20230508+deb12u1",
    "lilypond-doc-pdf=2.24.1-2",
    "maxima-doc=5.46.0-11",
    "pari-doc=2.15.2-1",
    "r-cran-car=3.1-1-1",
    "r-doc-pdf=4.2.2.20221110-2",
    "texlive-latex-base-doc=2022.20230122-3",
    "texlive-latex-recommended-doc=2022.20230122-3",
    "texlive-pictures-doc=2022.20230122-3",
    "texlive-science-doc=2022.20230122-4",
    "valgrind=1:3.19.0-1",
    "why3-doc-pdf=1.5.1-1",
)


def uncompress(folder: Path) -> int:
    """Uncompress every ``.pdf.gz`` under ``folder``, links aside, and return how many PDFs there are then."""
    for packed in sorted(folder.rglob("*.pdf.gz")):
        if packed.is_symlink():
            continue
        partial = packed.with_suffix(".partial")
        with gzip.open(packed) as source, partial.open("wb") as target:
            shutil.copyfileobj(source, target)
        partial.replace(packed.with_suffix(""))
        packed.unlink()
    return sum(path.is_file() for path in folder.rglob("*.pdf"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Download packages with PDF manuals and unpack them under OUT."""
    parser = argparse.ArgumentParser(prog="python -m ziprerank.train.data.manuals", description=main.__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--packages", nargs="+", default=PACKAGES, metavar="NAME[=VERSION]", help="instead of the pinned"
    )
    chosen = parser.parse_args(arguments)
    for package in chosen.packages:
        print(f"{package}: {uncompress(download(package, chosen.out))} PDFs")


if __name__ == "__main__":
    main()
