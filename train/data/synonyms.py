"""Synonyms of English words, from WordNet's own files (Miller 1995).

``python -m ziprerank.train.data.synonyms OUT`` fetches them from a Debian package (needs ``apt-get``, ``dpkg-deb``).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from ziprerank.train.errors import TrainError

from .packages import download

PACKAGE = "wordnet-base=1:3.0-37"
SENSES = 2
"""Senses of a word, most frequent first, whose words count, of each part of speech."""
_KINDS = ("noun", "verb", "adj", "adv")
_WORD = re.compile(r"[a-z]{3,}")
_ENDINGS = (("ies", "y"), ("es", ""), ("es", "e"), ("s", ""), ("ing", ""), ("ing", "e"), ("ed", ""), ("ed", "e"))


class Synonyms:
    """The words that share a sense with a word.

    Args:
        folder: holds ``index.noun``, ``data.noun`` and the same of verbs, adjectives and adverbs, at any depth.

    Raises:
        TrainError: a file is missing or is not WordNet's.
    """

    def __init__(self, folder: Path) -> None:
        self._senses: dict[str, list[list[str]]] = {}
        for kind in _KINDS:
            words = _synsets(_file(folder, f"data.{kind}"))
            index = _file(folder, f"index.{kind}")
            for line in _lines(index):
                # lemma, kind, senses, as many kinds of pointers as said, those kinds, senses, tagged ones, offsets
                fields = line.split()
                try:
                    offsets = fields[6 + int(fields[3]) :][:SENSES]
                    found = [words[offset] for offset in offsets]
                except (IndexError, KeyError, ValueError):
                    raise TrainError(f"{index}: {line[:60]!r} is no line of WordNet's index") from None
                self._senses.setdefault(fields[0], []).extend(found)

    def __call__(self, word: str) -> list[str]:
        """Synonyms of a lower-case word, of one word each, sorted; of its base form where the word is not known."""
        forms = [word, *(word.removesuffix(end) + base for end, base in _ENDINGS if word.endswith(end))]
        known = next((form for form in forms if form in self._senses), None)
        if known is None:
            return []
        found = {other for sense in self._senses[known] for other in sense if _WORD.fullmatch(other)}
        return sorted(found - set(forms))


def _file(folder: Path, name: str) -> Path:
    found = sorted(folder.rglob(name))
    if not found:
        raise TrainError(
            f"{folder} holds no {name}: fetch WordNet with python -m ziprerank.train.data.synonyms {folder}"
        )
    return found[0]


def _lines(file: Path) -> list[str]:
    """Lines but for the licence at the top, which is indented."""
    return [line for line in file.read_text(encoding="utf-8").splitlines() if line[:1].strip()]


def _synsets(file: Path) -> dict[str, list[str]]:
    """The words of each sense, by its offset."""
    found = {}
    for line in _lines(file):
        # offset, file, kind, count of words in hexadecimal, each word and a number; an adjective may end in (a)
        fields = line.split()
        try:
            found[fields[0]] = [fields[4 + 2 * place].partition("(")[0] for place in range(int(fields[3], 16))]
        except (IndexError, ValueError):
            raise TrainError(f"{file}: {line[:60]!r} is no line of WordNet's data") from None
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Fetch WordNet into OUT."""
    parser = argparse.ArgumentParser(prog="python -m ziprerank.train.data.synonyms", description=main.__doc__)
    parser.add_argument("out", type=Path)
    Synonyms(download(PACKAGE, parser.parse_args(arguments).out))


if __name__ == "__main__":
    main()
