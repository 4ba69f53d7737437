"""Token embeddings that the reading stage points at: what a word's letters are, and what it means.

A row of the table is the normalised sum of two unit vectors:

- Its spelling: the sum of random vectors, one for each pair and each three letters in a row, ends of the word included.
  Words of like letters are near each other, and a tower that reads letters finds words that it has never seen.
- Its meaning, for words of three letters or more: a sentence encoder's vector of the word alone, without the mean over
  the vocabulary, reduced to its principal components (the recipe of model2vec, Tulkens and van Dongen 2024), in random
  directions of the table's space. A query's *remove* then finds a page's *uninstall*, and less than the word itself.

The spelling's and the meaning's directions are independent, so cosines of rows are the weighted sum of both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from ziprerank.train.errors import TrainError
from ziprerank.train.teachers.embedder import Embed

DIMENSIONS = 128
"""Of the meaning; fewer lose, more gain nothing."""
_MEANT = re.compile(r"[a-z]{3,}")


def make_table(
    tokens: Sequence[str], width: int, encode: Embed | None, *, share: float = 0.5, seed: int = 0, special: int = 0
) -> Tensor:
    """The table of a vocabulary, ``[tokens, width]`` float32 with unit rows; the same seed gives the same.

    Args:
        tokens: all entries as text, in the order of their ids.
        width: of the model.
        encode: texts to vectors, for the meaning; None leaves it out.
        share: of the meaning in the squared length of a row that has one, in [0, 1).
        special: the first so many tokens are no text and get random rows.

    Raises:
        TrainError: ``share`` is out of range, or the encoder's vectors cannot be used.
    """
    if not 0 <= share < 1:
        raise TrainError(f"share is {share}: give the meaning's part of a row, in [0, 1)")
    generator = torch.Generator().manual_seed(seed)
    table = F.normalize(torch.randn(len(tokens), width, generator=generator), dim=-1)
    table[special:] = spelling(tokens[special:], width, generator)
    meant = [number for number, token in enumerate(tokens) if number >= special and _MEANT.fullmatch(token)]
    if encode is None or len(meant) < 2:
        return table
    vectors = meaning([tokens[number] for number in meant], encode, min(DIMENSIONS, width))
    directions = torch.linalg.qr(torch.randn(width, vectors.shape[1], generator=generator))[0]
    mixed = (1 - share) ** 0.5 * table[meant] + share**0.5 * vectors @ directions.T
    table[meant] = F.normalize(mixed, dim=-1)
    return table


def spelling(tokens: Sequence[str], width: int, generator: torch.Generator) -> Tensor:
    """Unit rows ``[tokens, width]``: sums of a random vector for each distinct run of letters of `letter_runs`."""
    numbers: dict[str, int] = {}
    rows = [[numbers.setdefault(run, len(numbers)) for run in letter_runs(token)] for token in tokens]
    vectors = torch.randn(len(numbers), width, generator=generator)
    flat = torch.tensor([number for row in rows for number in row], dtype=torch.int64)
    starts = torch.tensor(np.cumsum([0, *(len(row) for row in rows[:-1])]), dtype=torch.int64)
    return F.normalize(F.embedding_bag(flat, vectors, starts, mode="sum"), dim=-1)


def letter_runs(token: str) -> list[str]:
    """Each two and each three characters in a row, of the token between two marks of its ends."""
    marked = f"^{token}$"
    return [marked[at : at + size] for size in (2, 3) for at in range(len(marked) - size + 1)]


def meaning(words: Sequence[str], encode: Embed, dimensions: int) -> Tensor:
    """Unit rows ``[words, min(dimensions, D)]``: the encoder's vectors without their mean, principal components first.

    Raises:
        TrainError: the encoder's answer is not one finite vector for each word.
    """
    found: NDArray[np.float64] = np.asarray(encode(list(words)), dtype=np.float64)
    if found.ndim != 2 or len(found) != len(words) or not np.isfinite(found).all():
        raise TrainError(f"the encoder gave {list(found.shape)} for {len(words)} words: give one finite vector each")
    centred = torch.from_numpy(found - found.mean(0))
    components = torch.linalg.eigh(centred.T @ centred)[1].flip(1)[:, :dimensions]
    return F.normalize((centred @ components).float(), dim=-1)
