"""What windows say of pages, brought together: who is ranked, the scores page by page, and the best of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ziprerank.errors import EngineError, PageError
from ziprerank.inputs.bad_pages import none_left
from ziprerank.inputs.pages import PageSource
from ziprerank.ranking import PageNote, RankedPage
from ziprerank.runtime.engine import WindowScores
from ziprerank.windows import Outcome


@dataclass(frozen=True, slots=True)
class Scored:
    """What one window said of a page."""

    score: float
    probability: float
    kept: tuple[int, ...]


def by_page(scored: WindowScores) -> list[Scored]:
    """Returns a window's letter logits, their softmax and the kept tokens, page by page. Raises EngineError."""
    logits = scored.scores.astype(np.float64)
    if not np.isfinite(logits).all():
        raise EngineError(f"the decoder returned scores that are not finite: {logits.tolist()}")
    weights = np.exp(logits - logits.max())
    shares = weights / weights.sum()
    return [
        Scored(float(logit), float(share), tuple(kept.tolist()))
        for logit, share, kept in zip(logits, shares, scored.kept, strict=True)
    ]


def good_candidates(sources: Sequence[PageSource], bad: Mapping[int, PageError]) -> list[int]:
    """Returns the indices of the candidates that are not ``bad``. Raises PageError if there are none."""
    good = [index for index in range(len(sources)) if index not in bad]
    if not good:
        raise none_left(error for _, error in sorted(bad.items()))
    return good


def note_on(sources: Sequence[PageSource], index: int, text: str) -> PageNote:
    """Returns what there is to know about one candidate."""
    return PageNote(index, sources[index].source, sources[index].page, text)


def ranked_pages(
    outcome: Outcome[Scored],
    good: Sequence[int],
    sources: Sequence[PageSource],
    warnings: Mapping[int, tuple[str, ...]],
    top_k: int | None,
    factor: int,
) -> tuple[RankedPage, ...]:
    """Returns the best ``top_k`` of the pages ``good``; ``factor`` is the side of a visual token in px."""
    pages = []
    for rank, place in enumerate(outcome.order[:top_k], start=1):
        index, scored = good[place], outcome.latest[place]
        source = sources[index]
        pages.append(
            RankedPage(
                index=index,
                score=scored.score,
                probability=scored.probability,
                rank=rank,
                kept=scored.kept,
                tokens=source.size[0] * source.size[1] // factor**2,
                size=source.size,
                source=source.source,
                page=source.page,
                warnings=warnings.get(index, ()),
            )
        )
    return tuple(pages)
