"""What windows say of pages, brought together: who is ranked, the scores page by page, and the best of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ziprerank.errors import EngineError, PageError
from ziprerank.first_stage.stage import Choice
from ziprerank.inputs.bad_pages import none_left
from ziprerank.inputs.page_source import PageSource
from ziprerank.ranking import PageNote, RankedPage
from ziprerank.runtime.engine import WindowScores
from ziprerank.scales import falling, sigmoid
from ziprerank.windows import Outcome


@dataclass(frozen=True, slots=True)
class Scored:
    """What one window said of a page."""

    score: float
    probability: float
    kept: tuple[int, ...]


def by_page(scored: WindowScores, *, pointwise: bool = False) -> list[Scored]:
    """Returns what a window said, page by page. Raises EngineError.

    Args:
        scored: The letter logits and kept tokens; the probability is the softmax of the logits.
        pointwise: The scores are log-odds, each of its own sequence; the probability is the sigmoid.
    """
    logits = scored.scores.astype(np.float64)
    if not np.isfinite(logits).all():
        raise EngineError(f"the decoder returned scores that are not finite: {logits.tolist()}")
    if pointwise:
        shares = np.array([sigmoid(logit) for logit in logits])
    else:
        weights = np.exp(logits - logits.max())
        shares = weights / weights.sum()
    kept = scored.kept or [np.empty(0, np.int64)]  # a text alone has no page
    return [
        Scored(float(logit), float(share), tuple(tokens.tolist()))
        for logit, share, tokens in zip(logits, shares, kept, strict=True)
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
    choice: Choice,
    sources: Sequence[PageSource],
    warnings: Mapping[int, tuple[str, ...]],
    top_k: int | None,
    factor: int,
    *,
    pointwise: bool = False,
) -> tuple[RankedPage, ...]:
    """Returns the best ``top_k`` of the pages ``good``, their scores falling with the rank (``scales.py``).

    Args:
        outcome: The order of the chosen candidates, and what the passes said of them.
        choice: The chosen candidates, and those that the first stage put after them.
        sources: All candidates.
        warnings: What is known of a candidate's pixels.
        top_k: How many pages to return; None is all, also of those that the model has not read.
        factor: Side of a visual token in px.
        pointwise: Each score is the page's own and stays as it is: pages that score the same have the same score.
    """
    said = [outcome.latest[place] for place in outcome.order]
    unsaid = [math.inf] * len(choice.rest)  # which is lowered to just under the score of the page above
    scores = [*(one.score for one in said), *unsaid]
    probabilities = [*(one.probability for one in said), *unsaid]
    sigmoids = [*(sigmoid(one.score) for one in said), *unsaid]
    if not pointwise:
        scores, probabilities, sigmoids = falling(scores), falling(probabilities, 0.0), falling(sigmoids, 0.0)
    order: list[int | None] = [*outcome.order, *([None] * len(choice.rest))]
    pages = []
    for rank, place in enumerate(order[:top_k], start=1):
        kept: tuple[int, ...] = ()
        passes: tuple[int, ...] = ()
        if place is None:
            index = choice.rest[rank - 1 - len(said)]
        else:
            index, kept = choice.chosen[place], outcome.latest[place].kept
            passes = tuple(step + 1 for step in outcome.passes[place])
        source = sources[index]
        pages.append(
            RankedPage(
                index=index,
                score=scores[rank - 1],
                probability=probabilities[rank - 1],
                sigmoid=sigmoids[rank - 1],
                rank=rank,
                kept=kept,
                tokens=source.size[0] * source.size[1] // factor**2,
                size=source.size,
                source=source.source,
                page=source.page,
                warnings=warnings.get(index, ()),
                passes=passes,
            )
        )
    return tuple(pages)
