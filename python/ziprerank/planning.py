"""What a call of ``rank`` is to do: for each query the pages that the model reads, and the passes over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ziprerank.budget import check_budget
from ziprerank.bundle import Defaults
from ziprerank.errors import InvalidInput, quoted
from ziprerank.first_stage.stage import Choice, Relate, StageOptions, choose, first_words
from ziprerank.first_stage.texts import TextStore
from ziprerank.inputs.bad_pages import OnBadPage, check_on_bad_page
from ziprerank.inputs.page_source import PageSource
from ziprerank.profiling.meter import StepCount
from ziprerank.ranking import BudgetChoice
from ziprerank.strategies import AnyPlan, StrategyOption, plan_passes
from ziprerank.values import real_number, whole_number
from ziprerank.windows import MAX_WINDOW, WindowOption, pass_width

_WIDEST = Defaults(keep_ratio=1.0, window=MAX_WINDOW, stride=MAX_WINDOW // 2, prune_text="all_before_image")


@dataclass(frozen=True, slots=True)
class PassOptions:
    """The options of a ranking that say which pages the model reads in which passes; as for ``Reranker.rank``."""

    window: WindowOption
    stride: int | None
    strategy: StrategyOption
    stage: StageOptions
    top_k: int | None


@dataclass(frozen=True, slots=True)
class Planned:
    """One query's pages, and the passes over those that the model reads; ``budget`` is what was chosen for one."""

    choice: Choice
    plan: AnyPlan
    budget: BudgetChoice | None = None

    @property
    def steps(self) -> StepCount:
        """Steps of progress: a page, or a pass."""
        return StepCount(self.plan.pages, self.plan.passes)


def plan_queries(
    queries: Sequence[str],
    sources: Sequence[PageSource],
    good: Sequence[int],
    options: PassOptions,
    defaults: Defaults,
    store: TextStore,
    owner: str,
    waiting: Callable[[], None],
    relate: Relate | None,
) -> list[Planned]:
    """Plans each query's passes over the candidates ``good``. ``waiting`` is called while texts are read.

    ``relate`` is the first stage by relevance, None where the engine has none.

    Raises:
        InvalidInput: A value out of its bounds, more pages than one pass takes with ``window="off"``, or an option that
            a bundle does not have which scores each page by itself.
    """
    width = pass_width(options.window, defaults)
    stage = stage_for(options.stage, defaults)
    check_relates(stage, relates=relate is not None)
    ranks = defaults.relevance_ranks and relate is not None
    choices = choose(store, queries, sources, good, stage, width, owner, waiting, relate, ranks=ranks)
    return [
        Planned(
            choice,
            plan_passes(len(choice.chosen), options.strategy, options.window, options.stride, options.top_k, defaults),
        )
        for choice in choices
    ]


def plan_any_query(
    sources: Sequence[PageSource],
    good: Sequence[int],
    options: PassOptions,
    defaults: Defaults,
    store: TextStore,
    owner: str,
    waiting: Callable[[], None],
    relate: Relate | None,
) -> Planned:
    """Plans the passes of a query that is not known yet: as many pages as are read for one whose words are there.

    Which pages these will be is not known either: they are spread evenly over the candidates. Arguments and errors are
    those of ``plan_queries``.
    """
    stage, width = stage_for(options.stage, defaults), pass_width(options.window, defaults)
    probe = first_words(store, sources, good, stage, width, owner, waiting)
    (planned,) = plan_queries([probe], sources, good, options, defaults, store, owner, waiting, relate)
    count = len(planned.choice.chosen)
    spread = tuple(good[place * len(good) // count] for place in range(count))
    return replace(planned, choice=replace(planned.choice, chosen=spread, rest=()))


def stage_for(options: StageOptions, defaults: Defaults) -> StageOptions:
    """Returns how pages are picked for a bundle: none is left out where each page is scored by itself.

    Raises:
        InvalidInput: Pages are to be picked there, which would leave the others without a score.
    """
    if not defaults.pointwise:
        return options
    if options.first_stage in ("text", "relevance"):
        raise InvalidInput(
            f"first_stage {options.first_stage!r}: this bundle scores each page by itself, and pages that are left out "
            "would have no score: leave it out, or pass the pages that matter alone"
        )
    return replace(options, first_stage="none")


def check_options(
    options: PassOptions,
    keep_ratio: float | None,
    on_bad_page: OnBadPage,
    budget_ms: float | None,
    defaults: Defaults | None = None,
) -> None:
    """Checks the options of many rankings before the first one, whose pages are not known yet.

    Args:
        options: Which pages are read in which passes.
        keep_ratio: As for ``Reranker.rank``.
        on_bad_page: As for ``Reranker.rank``.
        budget_ms: As for ``Reranker.rank``.
        defaults: The bundle's; None refuses only what every bundle would.

    Raises:
        InvalidInput: No page could be ranked with them; as ``Reranker.rank`` says it.
    """
    if keep_ratio is not None:
        checked_ratio(keep_ratio)
    top_k = checked_top_k(options.top_k)
    check_on_bad_page(on_bad_page)
    check_budget(budget_ms)
    found = defaults or _WIDEST
    stage_for(options.stage, found)
    pages = MAX_WINDOW if options.window == "off" else 1  # with "off" they are the width, which the stride is under
    plan_passes(pages, options.strategy, options.window, options.stride, top_k, found)


def check_relates(options: StageOptions, *, relates: bool) -> None:
    """Raises InvalidInput where pages are to be picked by relevance, and the engine does not relate any."""
    if options.first_stage == "relevance" and not relates:
        raise InvalidInput(
            "first_stage 'relevance': this bundle has no relate.onnx, or its provider or engine does not run it: "
            "export the bundle again with ziprerank export, or use text or none"
        )


def checked_ratio(ratio: float) -> float:
    """Returns a keep ratio as a float. Raises InvalidInput unless it is over 0 and at most 1."""
    number = real_number(ratio)
    if number is None or not 0 < number <= 1:
        raise InvalidInput(f"keep_ratio {quoted(ratio)}: must be over 0 and at most 1 (1 keeps every visual token)")
    return number


def checked_top_k(top_k: int | None) -> int | None:
    """Returns how many pages are asked for, None for all. Raises InvalidInput unless it is a whole number over 0."""
    if top_k is None:
        return None
    number = whole_number(top_k)
    if number is None or number < 1:
        raise InvalidInput(f"top_k {quoted(top_k)}: must be a whole number of at least 1, or None for all pages")
    return number
