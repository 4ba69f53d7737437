"""What a ranking will read and take, before it runs: for ``Reranker.plan``, and to choose within a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ziprerank.estimate import Estimate, Work, count_work, estimate
from ziprerank.inputs.page_source import PageSource
from ziprerank.inputs.texted_page import has_pixels
from ziprerank.pass_prompts import pass_prompt
from ziprerank.planning import Planned
from ziprerank.prompt import PromptBuilder
from ziprerank.ranking import BudgetChoice, PageNote, Tokens
from ziprerank.runtime.rates import Rates
from ziprerank.strategies import Strategy, strategy_of

_BLOCK_ROWS = 32  # kBlockRows of the engine's PagePool


@dataclass(frozen=True, slots=True)
class RankingPlan:
    """What a ranking would do.

    Attributes:
        pages: Candidates that can be opened.
        read: Pages among them that the model would read.
        passes: Passes over these.
        first_stage: What picks them, as ``Ranking.first_stage``.
        strategy: How they are ranked, as ``Ranking.strategy``.
        keep_ratio: Share of each page's visual tokens that the decoder reads.
        tokens: As ``Ranking.tokens``, before and after pruning, summed over passes. Blank tokens, and so those that are
            kept, go by the measured share.
        feature_bytes: Bytes of the engine's memory that the features of all its pages take, if none of their tokens is
            blank: those of the pages that the model reads, and of the pages among which relevance picks them. With
            ``pool_bytes`` of as many the next query over the same pages finds all of them. None where the engine does
            not say how large they are.
        cached: Those of these pages that are known to be in memory, and cost neither rendering nor encoding: pages of
            files that this reranker has ranked before. Of other pages, and of a page cache on disk, only pixels tell.
        estimate: Milliseconds by stage.
        rates: What the estimate goes by, and where that comes from.
        budget: What was chosen for a budget; None without one.
        skipped: Candidates that cannot be opened.
    """

    pages: int
    read: int
    passes: int
    first_stage: str
    strategy: Strategy
    keep_ratio: float
    tokens: Tokens
    feature_bytes: int | None
    cached: int
    estimate: Estimate
    rates: Rates
    budget: BudgetChoice | None = None
    skipped: tuple[PageNote, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data for JSON."""
        return {
            "pages": self.pages,
            "read": self.read,
            "passes": self.passes,
            "first_stage": self.first_stage,
            "strategy": self.strategy,
            "keep_ratio": self.keep_ratio,
            "tokens": asdict(self.tokens),
            "feature_bytes": self.feature_bytes,
            "cached": self.cached,
            "estimate_ms": self.estimate.to_dict(),
            "rates": self.rates.to_dict(),
            "budget": None if self.budget is None else self.budget.to_dict(),
            "skipped": [note.to_dict() for note in self.skipped],
        }


class Planner:
    """Estimates the rankings of one call."""

    def __init__(
        self,
        prompts: PromptBuilder,
        instruction: str,
        sources: Sequence[PageSource],
        rates: Rates,
        held: Callable[[Iterable[int]], set[int]],
        factor: int,
        *,
        drop_blank: bool,
    ) -> None:
        """Puts together what an estimate needs.

        Args:
            prompts: The bundle's.
            instruction: As ``check_instruction`` returned it.
            sources: All candidates.
            rates: What the estimates go by.
            held: Returns those of some candidates whose features are in memory.
            factor: Side of a visual token in px.
            drop_blank: Whether blank tokens are left out.
        """
        self.rates = rates
        self._prompts = prompts
        self._instruction = instruction
        self._sources = sources
        self._held = held
        self._factor = factor
        self._blank = rates.blank if drop_blank else 0.0

    def work(self, query: str, planned: Planned, keep_ratio: float) -> Work:
        """Counts what one query's passes read. Raises as ``pass_prompt``."""
        chosen, sources = planned.choice.chosen, self._sources
        prompts: dict[int, int] = {}

        def text_tokens(places: Sequence[int]) -> int:
            if len(places) not in prompts or self._prompts.pointwise:
                candidates = [chosen[place] for place in places]
                asked = pass_prompt(
                    self._prompts, query, self._instruction, candidates, sources, lambda _page, _text: None
                )
                pads = sum(has_pixels(sources[candidate]) for candidate in candidates)
                prompts[len(places)] = len(asked.text_ids) - pads
            return prompts[len(places)]

        known = self._held(_encoded(planned))
        places = {place for place, index in enumerate(chosen) if index in known}
        pages = [self._tokens(index) for index in chosen]
        besides = [self._tokens(index) for index in _encoded(planned) - set(chosen) - known]
        return count_work(planned.plan, pages, places, keep_ratio, self._blank, text_tokens, besides)

    def takes(self, query: str, spent: float, planned: Planned, keep_ratio: float) -> float:
        """Estimates the milliseconds of one query's ranking, ``spent`` of which have passed."""
        return estimate(self.work(query, planned, keep_ratio), self.rates, spent).total

    def describe(
        self,
        query: str,
        planned: Planned,
        keep_ratio: float,
        spent: float,
        pages: int,
        row_bytes: int | None,
        skipped: Sequence[PageNote],
    ) -> RankingPlan:
        """Returns the plan of one query's ranking.

        Args:
            query: What ``check_query`` returned.
            planned: The query's passes.
            keep_ratio: In (0, 1].
            spent: Milliseconds so far.
            pages: Candidates that can be opened.
            row_bytes: Bytes of a visual token's features, if the engine says so.
            skipped: Candidates that cannot be opened.
        """
        work, choice, plan = self.work(query, planned, keep_ratio), planned.choice, planned.plan
        encoded = _encoded(planned)
        return RankingPlan(
            pages,
            len(choice.chosen),
            plan.passes,
            choice.stage,
            strategy_of(plan),
            keep_ratio,
            work.tokens,
            None if row_bytes is None else sum(_rows(self._tokens(index)) for index in encoded) * row_bytes,
            len(self._held(encoded)),
            estimate(work, self.rates, spent),
            self.rates,
            planned.budget,
            tuple(skipped),
        )

    def _tokens(self, index: int) -> int:
        height, width = self._sources[index].size
        return height * width // self._factor**2


def _rows(tokens: int) -> int:
    """Returns the rows of the pool that a page of so many visual tokens takes: whole blocks."""
    return -(-tokens // _BLOCK_ROWS) * _BLOCK_ROWS


def _encoded(planned: Planned) -> set[int]:
    """Returns the pages whose features the ranking needs: those that a pass reads or that relevance looks at."""
    return {*planned.choice.chosen, *planned.choice.related}
