"""Synonyms are the other words of a word's first senses."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_wordnet import write_wordnet
from ziprerank.train.data.synonyms import Synonyms
from ziprerank.train.errors import TrainError


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("package", ["bundle", "software"]),  # of two senses; "parcel_of_land" is more than one word
        ("packages", ["bundle", "software"]),
        ("remove", ["delete", "hamper", "package", "take", "uninstall", "withdraw"]),  # noun and verb; a1 is no word
        ("removing", ["delete", "hamper", "package", "take", "uninstall", "withdraw"]),
        ("removed", ["delete", "hamper", "package", "take", "uninstall", "withdraw"]),
        ("quick", ["fast"]),
        ("well", []),
        ("kalomi", []),
    ],
)
def test_the_words_of_the_first_senses(word: str, expected: list[str], tmp_path: Path) -> None:
    assert Synonyms(write_wordnet(tmp_path))(word) == expected


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("index.verb", "remove v 1 2 @ ~ 1 1 00009999\n", r"index\.verb: 'remove v .*' is no line of WordNet's index"),
        ("index.verb", "remove v 1 many\n", "no line of WordNet's index"),
        ("data.noun", "00001000 06 n 03 package 0\n", r"data\.noun: '00001000 .*' is no line of WordNet's data"),
    ],
)
def test_files_of_another_form_are_refused(name: str, text: str, complaint: str, tmp_path: Path) -> None:
    (write_wordnet(tmp_path) / "usr/share/wordnet" / name).write_text(text, encoding="utf-8")
    with pytest.raises(TrainError, match=complaint):
        Synonyms(tmp_path)


def test_a_folder_without_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"holds no data\.noun: fetch WordNet with python -m"):
        Synonyms(tmp_path)
