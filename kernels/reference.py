"""The specification of query-image token pruning, in plain PyTorch. Every other implementation is tested against it."""

from __future__ import annotations

import torch
from torch import Tensor

NORM_FLOOR = 1e-12


def keep_count(tokens: int, keep_ratio: float) -> int:
    """How many of a page's visual tokens stay: ``max(1, round(keep_ratio * tokens))``, half to even, in double."""
    return max(1, round(keep_ratio * tokens))


def relevance(visual: Tensor, text: Tensor) -> Tensor:
    """``[N]`` float32: of each visual token ``[N, D]`` the largest cosine similarity with a text token ``[T, D]``.

    Norms are clamped to at least 1e-12, so a zero row has similarity 0.
    """
    visual, text = (
        rows.float() / rows.float().norm(dim=1, keepdim=True).clamp_min(NORM_FLOOR) for rows in (visual, text)
    )
    return (visual @ text.T).amax(dim=1)


def prune(visual: Tensor, text: Tensor, page_offsets: Tensor, keep: Tensor) -> Tensor:
    """``[M]`` int64, ascending: of each page its ``keep[p]`` most relevant visual tokens; on a tie the lower index.

    Args:
        visual: ``[N, D]``, the pages' visual tokens, page by page.
        text: ``[T, D]``, the text tokens to compare with.
        page_offsets: ``[K + 1]``, page ``p`` is ``visual[page_offsets[p] : page_offsets[p + 1]]``.
        keep: ``[K]``, at least 1 and at most the page's length.
    """
    scores = relevance(visual, text)
    kept = []
    for start, end, count in zip(page_offsets[:-1].tolist(), page_offsets[1:].tolist(), keep.tolist(), strict=True):
        best = torch.sort(scores[start:end], descending=True, stable=True).indices[:count]
        kept.append(start + best.sort().values)
    return torch.cat(kept)
