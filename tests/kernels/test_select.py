"""Selection alone, on given scores: long pages, ties and extreme values, compared with a stable sort."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from ziprerank.kernels.select import select_kept


def select(scores: Tensor, counts: Sequence[int], keep: Sequence[int]) -> list[int]:
    offsets, kept = torch.tensor([0, *counts]).cumsum(0), torch.full((sum(keep),), -1)
    status = torch.full((len(keep),), 99, dtype=torch.int32)
    select_kept[(len(keep),)](scores, offsets, torch.tensor(keep), kept, status, BLOCK=1024)
    assert status.tolist() == [0] * len(keep)
    return kept.tolist()


def stable(scores: Tensor, counts: Sequence[int], keep: Sequence[int]) -> list[int]:
    kept, start = [], 0
    for count, k in zip(counts, keep, strict=True):
        best = scores[start : start + count].sort(descending=True, stable=True).indices[:k]
        kept += (start + best.sort().values).tolist()
        start += count
    return kept


@pytest.mark.parametrize("levels", [0, 3])
def test_pages_of_16384_tokens(levels: int) -> None:
    """Scores are all different, or have so few values that the k-th largest is in every block of the page."""
    counts, keep = [16384, 5], [5000, 2]
    scores = torch.rand(sum(counts), generator=torch.Generator().manual_seed(levels)) * 2 - 1
    if levels:
        scores = (scores * levels).round() / levels
    assert select(scores, counts, keep) == stable(scores, counts, keep)


@pytest.mark.parametrize("keep", [2, 7, 11])
def test_extreme_scores_are_in_the_order_of_floats(keep: int) -> None:
    smallest, largest = 1e-45, 3.4028235e38
    values = [-0.0, 0.0, smallest, -smallest, 1.0, -1.0, largest, -largest, 1.0000001, 0.99999994, -0.0, 0.0]
    scores = torch.tensor(values)
    assert select(scores, [12], [keep]) == stable(scores, [12], [keep])


@pytest.mark.parametrize("count", [1, 1023, 1025])
def test_every_kind_of_count_around_a_block(count: int) -> None:
    scores = torch.rand(count, generator=torch.Generator().manual_seed(count)).sub(0.5)
    for keep in {1, max(1, count - 1), count}:
        assert select(scores, [count], [keep]) == stable(scores, [count], [keep])
