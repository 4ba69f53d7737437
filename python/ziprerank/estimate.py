"""What the passes over chosen pages read, counted, and what that takes by measured rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from ziprerank.partition import Partition
from ziprerank.ranking import Tokens
from ziprerank.runtime.rates import Rates
from ziprerank.strategies import AnyPlan


@dataclass(frozen=True, slots=True)
class Estimate:
    """Milliseconds, by stage as in ``Timings``.

    Attributes:
        pages: Waiting for pixels. Pages are rendered ahead of the vision tower, several at once.
        vision: The vision tower, over pages whose features are not in memory.
        rerank: The passes: pruning and the decoder.
        spent: Opening the inputs and the first stage, which had been done when the estimate was made.
        total: The sum.
    """

    pages: float
    vision: float
    rerank: float
    spent: float
    total: float

    def to_dict(self) -> dict[str, float]:
        """Returns plain data for JSON."""
        return {stage: round(value, 3) for stage, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Work:
    """What a plan has the model read.

    Attributes:
        tokens: As ``Ranking.tokens``: summed over passes. ``blank``, and so ``kept``, go by the measured share of blank
            tokens, since a page is not looked at.
        passes: Tokens that each pass reads, of text and of pages after pruning.
        new: Visual tokens, but for blank ones, of the pages whose features are not in memory.
        rendered: How many pages these are.
    """

    tokens: Tokens
    passes: tuple[int, ...]
    new: int
    rendered: int


def passes_of(plan: AnyPlan) -> list[list[int]]:
    """Returns the positions in each pass, as if no pass changed the order."""
    if isinstance(plan, Partition):
        between = [[plan.pivot - 1, *group] for group in plan.groups]
        return [list(range(plan.width)), *between, [*range(plan.width - len(plan.left)), *plan.left]]
    return [list(range(start, start + plan.width)) for start in plan.starts]


def count_work(
    plan: AnyPlan,
    pages: Sequence[int],
    known: set[int],
    keep_ratio: float,
    blank: float,
    text_tokens: Callable[[Sequence[int]], int],
    besides: Sequence[int] = (),
) -> Work:
    """Counts what a plan reads.

    Args:
        plan: The passes.
        pages: Visual tokens of each page, by its position in the plan; 0 for a text alone.
        known: Positions of pages whose features are in memory.
        keep_ratio: Share of each page's visual tokens that the decoder reads.
        blank: Share of visual tokens that are left out as blank.
        text_tokens: Returns the text tokens of a pass over these positions.
        besides: Visual tokens of each page that no pass reads, but the first stage has encoded.
    """
    blanks = [round(blank * tokens) for tokens in pages]
    kept = [
        min(max(1, round(keep_ratio * tokens)), tokens - left_out)
        for tokens, left_out in zip(pages, blanks, strict=True)
    ]
    text = visual = left = read = 0
    passes = []
    for places in passes_of(plan):
        asked, after = text_tokens(places), sum(kept[place] for place in places)
        text, read = text + asked, read + after
        visual += sum(pages[place] for place in places)
        left += sum(blanks[place] for place in places)
        passes.append(asked + after)
    unknown = [*(tokens for place, tokens in enumerate(pages) if place not in known and tokens), *besides]
    new = sum(tokens - round(blank * tokens) for tokens in unknown)
    return Work(Tokens(text, visual, left, read), tuple(passes), new, len(unknown))


def estimate(work: Work, rates: Rates, spent: float = 0.0) -> Estimate:
    """Returns what the work takes by these rates, after ``spent`` milliseconds.

    The first page is waited for. Of the others, that part of their rendering is waited for which takes longer than the
    vision tower over the pages before them.
    """
    count = work.rendered
    vision = rates.token_ms * work.new
    others = max(0.0, rates.page_ms * (count - 1) / rates.renderers - vision * (count - 1) / max(count, 1))
    pages = rates.page_ms + others if count else 0.0
    rerank = sum(rates.of_pass(tokens) for tokens in work.passes)
    return Estimate(pages, vision, rerank, spent, pages + vision + rerank + spent)
