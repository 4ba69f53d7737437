"""The specification of query-image token pruning, in plain PyTorch; all other implementations are tested against it."""

from __future__ import annotations

import torch
from torch import Tensor

NORM_FLOOR = 1e-12


def keep_count(tokens: int, keep_ratio: float) -> int:
    """Computes how many of a page's visual tokens to keep: ``max(1, round(keep_ratio * tokens))``.

    The product is in float64, and halves are rounded to even.
    """
    return max(1, round(keep_ratio * tokens))


def relevance(visual: Tensor, text: Tensor) -> Tensor:
    """Computes each visual token's largest cosine similarity with a text token, in float32.

    Norms are clamped to at least 1e-12, so a zero row has similarity 0.

    Args:
        visual: ``[N, D]``.
        text: ``[T, D]``.

    Returns:
        ``[N]`` float32.
    """
    visual, text = (
        rows.float() / rows.float().norm(dim=1, keepdim=True).clamp_min(NORM_FLOOR) for rows in (visual, text)
    )
    return (visual @ text.T).amax(dim=1)


def prune(visual: Tensor, text: Tensor, page_offsets: Tensor, keep: Tensor) -> Tensor:
    """Selects the ``keep[p]`` most relevant visual tokens of each page; on a tie the lower index wins.

    Args:
        visual: ``[N, D]``: the pages' visual tokens, page by page.
        text: ``[T, D]``: the text tokens to compare with.
        page_offsets: ``[K + 1]``: page ``p`` is ``visual[page_offsets[p] : page_offsets[p + 1]]``.
        keep: ``[K]``: at least 1 and at most the page's length.

    Returns:
        ``[M]`` int64, ascending indices into ``visual``.
    """
    scores = relevance(visual, text)
    kept = []
    for start, end, count in zip(page_offsets[:-1].tolist(), page_offsets[1:].tolist(), keep.tolist(), strict=True):
        best = torch.sort(scores[start:end], descending=True, stable=True).indices[:count]
        kept.append(start + best.sort().values)
    return torch.cat(kept)
