"""Rows of the table: near for words of like letters and for words of like meaning, nearest for the word itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from ziprerank.train.errors import TrainError
from ziprerank.train.table import letter_runs, make_table, meaning

WORDS = ["<|pad|>", "remove", "removed", "uninstall", "page", "of"]
MEANINGS = {"remove": (1, 0.1), "removed": (0.9, 0.2), "uninstall": (1, 0), "page": (-1, 1)}


def encode(texts: list[str]) -> NDArray[np.float64]:
    return np.array([MEANINGS[text] for text in texts])


def test_letters_and_meaning_are_near() -> None:
    table = make_table(WORDS, 256, encode, share=0.4, special=1)
    assert table.norm(dim=-1) == pytest.approx(torch.ones(6), abs=1e-5)
    cosines = table @ table.T
    spelled = make_table(WORDS, 256, None, special=1)
    remove, removed, uninstall, page = (WORDS.index(word) for word in ("remove", "removed", "uninstall", "page"))
    assert float(cosines[remove, uninstall]) == pytest.approx(0.4, abs=0.15)  # their meaning alone
    assert abs(float((spelled @ spelled.T)[remove, uninstall])) < 0.2
    assert cosines[remove, removed] > cosines[remove, uninstall] > cosines[remove, page]
    assert torch.equal(table[WORDS.index("of")], spelled[WORDS.index("of")])  # too short to mean anything
    assert torch.equal(table, make_table(WORDS, 256, encode, share=0.4, special=1))
    assert not torch.equal(table, make_table(WORDS, 256, encode, share=0.4, special=1, seed=1))


def test_runs_of_letters_know_the_ends() -> None:
    assert letter_runs("of") == ["^o", "of", "f$", "^of", "of$"]


def test_meaning_is_centred_and_reduced() -> None:
    found = meaning(["remove", "page"], encode, 1)
    assert found.shape == (2, 1)
    assert float(found[0, 0] * found[1, 0]) == pytest.approx(-1)


def test_what_makes_no_table() -> None:
    with pytest.raises(TrainError, match=r"share is 1: give the meaning's part"):
        make_table(WORDS, 256, encode, share=1)
    with pytest.raises(TrainError, match=r"gave \[1, 2\] for 4 words: give one finite vector each"):
        make_table(WORDS, 256, lambda _: [[0.0, 1.0]], special=1)
    with pytest.raises(TrainError, match="one finite vector"):
        make_table(WORDS, 256, lambda texts: [[float("nan")]] * len(texts), special=1)
