"""Windows to prune, and the specification's answer to them in double precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from ziprerank.kernels import Pruned, prune_pool, reference

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
# Inputs are compared as they are stored and sums are float32 whatever their dtype, so one tolerance does for all.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Window:
    """The operator's inputs, with their names in docs/bundle.md."""

    pool: Tensor
    rows: Tensor
    page_offsets: Tensor
    keep: Tensor
    text: Tensor
    query_mask: Tensor

    @property
    def visual(self) -> Tensor:
        return self.pool[self.rows, 0]

    def prune(self, total: int | None = None) -> Pruned:
        return prune_pool(self.pool, self.rows, self.page_offsets, self.keep, self.text, self.query_mask, total)

    def with_keep(self, keep: Sequence[int]) -> Window:
        return replace(self, keep=torch.tensor(keep))


def window(
    visual: Tensor, text: Tensor, counts: Sequence[int], keep: Sequence[int] | float, mask: Tensor | None = None
) -> Window:
    """``visual [N, D]`` at random rows of a pool of three levels with noise around it; ``keep`` counts or one ratio."""
    total, hidden = visual.shape
    generator = torch.Generator().manual_seed(total * 31 + hidden)
    pool = torch.randn(total + 5, 3, hidden, generator=generator).to(visual.dtype)
    rows = torch.randperm(total + 5, generator=generator)[:total]
    pool[rows, 0] = visual
    if isinstance(keep, float):
        keep = [reference.keep_count(count, keep) for count in counts]
    mask = torch.ones(len(text), dtype=torch.bool) if mask is None else mask
    return Window(pool, rows, torch.tensor([0, *counts]).cumsum(0), torch.tensor(keep), text, mask)


def random_window(
    dtype: torch.dtype, hidden: int, tokens: int, counts: Sequence[int], keep: Sequence[int] | float, seed: int = 0
) -> Window:
    generator = torch.Generator().manual_seed(seed)
    visual = torch.randn(sum(counts), hidden, generator=generator).to(dtype)
    text = torch.randn(tokens, hidden, generator=generator).to(dtype)
    return window(visual, text, counts, keep)


def exact_relevance(case: Window) -> Tensor:
    """``[N]`` float64: the specification's formula, in double."""
    visual, text = (
        rows.double() / rows.double().norm(dim=1, keepdim=True).clamp_min(reference.NORM_FLOOR)
        for rows in (case.visual, case.text[case.query_mask])
    )
    return (visual @ text.T).amax(dim=1)


def check_window(case: Window) -> Pruned:
    """Prune, and hold relevance and choice against the specification; the result, for what else there is to check.

    A choice is compared by the scores that it selects: two tokens may be swapped only if their scores are equal to the
    tolerance.
    """
    pruned = case.prune()
    pruned.check()
    exact = exact_relevance(case)
    torch.testing.assert_close(pruned.relevance.double(), exact, atol=TOLERANCE, rtol=0)

    kept = pruned.kept
    assert kept.dtype == torch.int64
    assert len(kept) == int(case.keep.sum())
    assert bool((kept.diff() > 0).all()), "indices must ascend, each once"
    offsets = case.page_offsets.tolist()
    for start, end, part in zip(offsets[:-1], offsets[1:], kept.split(case.keep.tolist()), strict=True):
        assert start <= int(part[0])
        assert int(part[-1]) < end
        best = exact[start:end].sort(descending=True).values[: len(part)]
        chosen = exact[part].sort(descending=True).values
        torch.testing.assert_close(chosen, best, atol=2 * TOLERANCE, rtol=0)
    return pruned
