"""What a call of ``rank``, ``rank_many`` or ``plan`` asks for, checked before a page is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ziprerank.budget import Budget, budget_of, check_budget
from ziprerank.bundle import Defaults
from ziprerank.errors import InvalidInput
from ziprerank.first_stage.stage import CANDIDATES, FirstStage, StageOptions
from ziprerank.inputs.bad_pages import OnBadPage, check_on_bad_page
from ziprerank.planning import PassOptions, checked_ratio, checked_top_k
from ziprerank.prompt import PromptBuilder
from ziprerank.strategies import StrategyOption
from ziprerank.windows import WindowOption


@dataclass(frozen=True, slots=True)
class Call:
    """What a call asks for, checked.

    Attributes:
        queries: As they were given, for the rankings.
        texts: As ``check_query`` returned them. None in place of them all is a call that only plans, for any query.
        instruction: As ``check_instruction`` returned it.
        keep_ratio: In (0, 1]; the most of them with a budget.
        options: Which pages are read in which passes.
        skip: Whether bad pages are skipped.
        budget: What candidates and keep ratio are chosen for.
    """

    queries: tuple[str, ...]
    texts: tuple[str, ...] | None
    instruction: str
    keep_ratio: float
    options: PassOptions
    skip: bool
    budget: Budget | None = None

    @property
    def asked(self) -> tuple[str, ...]:
        """The texts; of a call that only plans an empty one."""
        return ("",) if self.texts is None else self.texts


def checked_call(
    prompts: PromptBuilder,
    defaults: Defaults,
    queries: Sequence[str] | None,
    top_k: int | None,
    *,
    keep_ratio: float | None,
    window: WindowOption,
    stride: int | None,
    strategy: StrategyOption,
    first_stage: FirstStage,
    candidates: int | None,
    instruction: str | None,
    on_bad_page: OnBadPage,
    budget_ms: float | None,
) -> Call:
    """Checks what can be checked without the pages; options are those of ``Reranker.rank``, and no queries are any.

    Raises:
        InvalidInput: A query or an option cannot be used.
    """
    if isinstance(queries, str):
        raise InvalidInput("rank_many takes a list of queries: use rank for one")
    asking = () if queries is None else tuple(queries)  # an iterator gives them once
    texts = None if queries is None else tuple(map(prompts.check_query, asking))
    asked = prompts.check_instruction(instruction)
    ratio = checked_ratio(defaults.keep_ratio if keep_ratio is None else keep_ratio)
    wanted = checked_top_k(top_k)
    skip = check_on_bad_page(on_bad_page) == "skip"
    stage = stage_options(first_stage, candidates)
    options, ms = PassOptions(window, stride, strategy, stage, wanted), check_budget(budget_ms)
    budget = None
    if ms is not None:
        given, fixed = candidates is not None, keep_ratio is not None
        budget = budget_of(ms, stage.candidates, ratio, wanted, fixed_candidates=given, fixed_ratio=fixed)
    return Call(asking, texts, asked, ratio, options, skip, budget)


def stage_options(first_stage: FirstStage, candidates: int | None) -> StageOptions:
    """Returns checked options of the first stage; None candidates are as many as usual. Raises InvalidInput."""
    return StageOptions(first_stage, CANDIDATES if candidates is None else candidates)
