"""Files of WordNet's form with a few words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

LICENCE = "  1 This database is being provided to you under a licence.  \n"
DATA = {
    "noun": "00001000 06 n 03 package 0 bundle 0 parcel_of_land 0 001 @ 00001000 n 0000 | a wrapped container  \n"
    "00001111 06 n 02 package 1 software 0 000 | programs  \n"
    "00001222 06 n 02 package 2 hamper 0 000 | a third sense  \n",
    "verb": "00002000 30 v 0b remove 0 take 0 withdraw 0 uninstall 0 a1 0 b2 0 c3 0 d4 0 e5 0 f6 0 delete 0 "
    "000 01 + 08 00 | take away  \n",
    "adj": "00003000 00 a 02 quick(a) 0 fast(p) 0 000 | moving with speed  \n",
    "adv": "00004000 02 r 01 well 0 000 | in a good way  \n",
}
INDEX = {
    "noun": "bundle n 1 0 1 0 00001000  \npackage n 3 1 @ 3 2 00001000 00001111 00001222  \n"
    "software n 1 0 1 0 00001111  \nremove n 1 0 1 0 00001222  \n",
    "verb": "remove v 1 2 @ ~ 1 1 00002000  \n",
    "adj": "quick a 1 0 1 0 00003000  \nfast a 1 0 1 0 00003000  \n",
    "adv": "well r 1 0 1 0 00004000  \n",
}


def write_wordnet(folder: Path) -> Path:
    """Writes ``usr/share/wordnet`` below the folder, as the Debian package has it, and returns the folder."""
    inner = folder / "usr" / "share" / "wordnet"
    inner.mkdir(parents=True)
    for name, texts in (("data", DATA), ("index", INDEX)):
        for kind, text in texts.items():
            (inner / f"{name}.{kind}").write_text(LICENCE + text, encoding="utf-8")
    return folder


def write_synonyms(folder: Path, pairs: Mapping[str, str]) -> Path:
    """Writes WordNet's files with a noun of one sense for each pair of synonyms, and nothing else."""
    for kind in DATA:
        (folder / f"data.{kind}").write_text(LICENCE, encoding="utf-8")
        (folder / f"index.{kind}").write_text(LICENCE, encoding="utf-8")
    senses = {word: f"{number:08}" for number, word in enumerate(pairs)}
    data = [f"{at} 06 n 02 {word} 0 {pairs[word]} 0 000 | the same\n" for word, at in senses.items()]
    index = [f"{word} n 1 0 1 0 {at}\n" for word, at in senses.items()]
    (folder / "data.noun").write_text(LICENCE + "".join(data), encoding="utf-8")
    (folder / "index.noun").write_text(LICENCE + "".join(index), encoding="utf-8")
    return folder
