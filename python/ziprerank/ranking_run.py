"""What one call of ``rank`` or ``rank_many`` does with pages that are open: each query, pass by pass, to a ranking.

A page that turns out to be bad is left out where the call says so: the passes are planned anew, and every query begins
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType

from ziprerank.budget import within_budget
from ziprerank.bundle import Bundle
from ziprerank.cache.page_cache import PageCache
from ziprerank.call import Call
from ziprerank.errors import PageError
from ziprerank.first_stage.relevance import Relevance
from ziprerank.first_stage.stage import Relate, unseen
from ziprerank.first_stage.texts import TextStore
from ziprerank.inputs.bad_pages import BadPage
from ziprerank.inputs.feed import PageFeed
from ziprerank.inputs.page_source import PageSource
from ziprerank.pass_prompts import check_texts, pass_prompt
from ziprerank.planning import PassOptions, Planned, plan_any_query, plan_queries
from ziprerank.profiling.meter import Meter, ProgressCallback, StepCount, Steps
from ziprerank.profiling.watch import Watch
from ziprerank.prompt import Prompt, PromptBuilder
from ziprerank.ranking import Ranking
from ziprerank.ranking_plan import Planner, RankingPlan
from ziprerank.runtime.engine import EngineLike, WindowScores
from ziprerank.runtime.open_window import OpenWindow
from ziprerank.runtime.page_names import PageNames
from ziprerank.runtime.passes import Passes
from ziprerank.runtime.rates import Measured
from ziprerank.scored import Scored, by_page, good_candidates, note_on, ranked_pages
from ziprerank.strategies import run_passes, strategy_of
from ziprerank.windows import Outcome, pass_width


@dataclass(frozen=True, slots=True)
class Tools:
    """What a reranker ranks with; its own fields of the same names say more."""

    bundle: Bundle
    engine: EngineLike
    prompts: PromptBuilder
    texts: TextStore
    page_cache: PageCache | None
    watch: Watch
    owner: str
    measured: Measured
    names: PageNames


class RankingRun:
    """The rankings of one call; use from one thread."""

    def __init__(
        self,
        tools: Tools,
        call: Call,
        sources: Sequence[PageSource],
        passes: Passes,
        progress: ProgressCallback | None,
        meter: Meter,
        *,
        only_plan: bool = False,
    ) -> None:
        """Plans the passes of every query, for which the first stage may read texts, or encode pages.

        Args:
            tools: What ranks.
            call: What is asked for.
            sources: All candidates, open.
            passes: Scores windows.
            progress: As for ``Reranker.rank``.
            meter: That of the first query, which counts what comes before the first page too.
            only_plan: Encode nothing: which pages relevance would pick stays open, only how many is planned.

        Raises:
            InvalidInput: An option cannot be used with these pages, or a query is too long for a pass.
            PageError: No page can be ranked, or a document's text cannot be used.
        """
        self._tools = tools
        self._call = call
        self._sources = sources
        self._passes = passes
        self._meter = meter
        self._bad = {index: source.error for index, source in enumerate(sources) if isinstance(source, BadPage)}
        self._good = good_candidates(sources, self._bad)
        check_texts(tools.prompts, sources)
        self._related: set[int] = set()  # pages that relevance has encoded, as far as steps are counted
        self._steps = Steps(progress, self._first_steps, passes.check)
        with ExitStack() as opened:
            self._feed = opened.enter_context(PageFeed(sources, tools.watch, tools.measured.rendered))
            self._window = opened.enter_context(
                OpenWindow(tools.engine, sources, self._feed, tools.page_cache, tools.watch, tools.owner, tools.names)
            )
            self._relate = self._relevance(only_plan=only_plan)
            self._planned = self._plan()
            for text, one in zip(call.asked, self._planned, strict=True):
                tools.prompts.check_length(text, one.plan.width, call.instruction)
            self._opened = opened.pop_all()

    def __enter__(self) -> RankingRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def rankings(self) -> list[Ranking]:
        """Ranks the pages by each query. Raises as ``Reranker.rank``, but for what the constructor raises."""
        return [
            self._ranking(query, outcome, planned, spent)
            for query, (outcome, planned, spent) in zip(self._call.queries, self._outcomes(), strict=True)
        ]

    def described(self) -> RankingPlan:
        """Says what the ranking of the first query would do, by rates that must have been measured."""
        call, tools, planned = self._call, self._tools, self._planned[0]
        row_bytes = tools.engine.info.get("row_bytes")
        return self._planner().describe(
            call.asked[0],
            planned,
            self._ratio(planned),
            self._meter.elapsed(),
            len(self._good),
            row_bytes,
            [note_on(self._sources, index, error.reason) for index, error in sorted(self._bad.items())],
        )

    @property
    def _first_steps(self) -> StepCount:
        """Steps while the first stage goes on: those by relevance, which encodes each page once for all queries.

        Nobody knows yet what another stage leaves.
        """
        good = set(self._good) - self._bad.keys()
        read = min(self._call.options.stage.candidates, len(good))
        return StepCount(len(good - self._related), 0).and_then(StepCount(read, 1).times(len(self._call.asked)))

    def _relevance(self, *, only_plan: bool) -> Relate | None:
        """Returns the first stage by relevance; None where the engine has none."""
        tools = self._tools
        if not tools.engine.info.get("relates"):
            return None
        if only_plan:
            return unseen
        width = pass_width(self._call.options.window, tools.bundle.defaults)
        return Relevance(tools.prompts, self._window, width, self._meter, self._note_related, self._wait).scores

    def _note_related(self, page: int) -> None:
        """Counts a page that relevance has encoded, once."""
        new = page not in self._related
        self._related.add(page)
        self._steps.advance(pages=int(new))

    def _plan(self) -> list[Planned]:
        """Plans every query; a page that the first stage finds to be bad is left out where the call says so."""
        while True:
            self._good = good_candidates(self._sources, self._bad)
            try:
                return self._plan_good()
            except PageError as error:  # of the stage that encodes pages
                if not self._call.skip or error.index is None:
                    raise
                self._bad |= {error.index: error}
                self._steps.begin_again(self._first_steps)

    def _plan_good(self) -> list[Planned]:
        """Plans every query, each by itself within the budget if there is one."""
        call = self._call
        planned = self._plan_with(call.options, call.texts)
        if call.budget is None:
            return planned
        planner, chosen = self._planner(), []
        for place, (text, usual) in enumerate(zip(call.asked, planned, strict=True)):
            plans = {call.options.stage.candidates: usual}
            one, choice = within_budget(
                call.budget,
                partial(self._with_candidates, None if call.texts is None else text, plans),
                partial(planner.takes, text, self._meter.elapsed() if place == 0 else 0.0),
            )
            chosen.append(replace(one, budget=choice))
        return chosen

    def _with_candidates(self, text: str | None, plans: dict[int, Planned], candidates: int) -> Planned:
        """Plans one query with so many candidates, unless ``plans`` has that."""
        if candidates not in plans:
            options = self._call.options
            fewer = replace(options, stage=replace(options.stage, candidates=candidates))
            (plans[candidates],) = self._plan_with(fewer, None if text is None else (text,))
        return plans[candidates]

    def _plan_with(self, options: PassOptions, texts: Sequence[str] | None) -> list[Planned]:
        tools, good = self._tools, self._good
        defaults, store, owner = tools.bundle.defaults, tools.texts, tools.owner
        if texts is None:
            return [plan_any_query(self._sources, good, options, defaults, store, owner, self._wait, self._relate)]
        return plan_queries(texts, self._sources, good, options, defaults, store, owner, self._wait, self._relate)

    def _planner(self) -> Planner:
        tools = self._tools
        rates = tools.measured.rates()
        assert rates is not None  # whoever asks for a plan or a budget has calibrated before
        return Planner(
            tools.prompts,
            self._call.instruction,
            self._sources,
            rates,
            lambda indices: tools.names.held(tools.engine, self._sources, indices, tools.owner),
            tools.bundle.image.factor,
            drop_blank=bool(tools.engine.info.get("drop_blank", False)),
        )

    def _ratio(self, planned: Planned) -> float:
        return self._call.keep_ratio if planned.budget is None else planned.budget.keep_ratio

    def _wait(self) -> None:
        """Tells the caller that nothing is done meanwhile, who may end the ranking."""
        self._steps.advance()

    def _outcomes(self) -> list[tuple[Outcome[Scored], Planned, Meter]]:
        """Scores every query's passes; all again without the pages that are found to be bad."""
        outcomes: list[tuple[Outcome[Scored], Planned, Meter]] = []
        each, meter = self._begin(), self._meter
        while len(outcomes) < len(self._call.asked):
            planned = self._planned[len(outcomes)]
            try:
                outcome = self._score(self._call.asked[len(outcomes)], planned, meter)
            except PageError as error:
                if not self._call.skip or error.index is None:
                    raise
                with meter.stage("pages"):
                    self._bad |= {error.index: error} | self._feed.bad_pages(planned.choice.chosen, self._wait)
                    self._planned = self._plan()
                each = self._begin()
                meter.forget_tokens()
                outcomes.clear()
            else:
                self._steps.advance(each.pages - planned.steps.pages, each.passes - planned.steps.passes)
                outcomes.append((outcome, planned, meter))
                meter.stop()
                meter = Meter()
        return outcomes

    def _begin(self) -> StepCount:
        """Counts steps from here on, as many for each query, whatever it reads; returns how many these are."""
        steps = [one.steps for one in self._planned]
        each = StepCount(max((one.pages for one in steps), default=0), max((one.passes for one in steps), default=0))
        self._steps.begin_again(each.times(len(steps)))
        return each

    def _score(self, query: str, planned: Planned, meter: Meter) -> Outcome[Scored]:
        """Runs every pass of the plan: tokenize, encode the pass's pages, prune and score them."""
        tools, call, steps = self._tools, self._call, self._steps
        plan, good, pointwise = planned.plan, planned.choice.chosen, tools.bundle.defaults.pointwise
        ratio = self._ratio(planned)
        prompts: dict[int, Prompt] = {}

        def prompt_for(candidates: Sequence[int]) -> Prompt:
            prompt = prompts.get(len(candidates))
            if prompt is None:
                with tools.watch("tokenize", None), meter.stage("tokenize"):
                    prompt = pass_prompt(
                        tools.prompts, query, call.instruction, candidates, self._sources, self._window.warn
                    )
                if not pointwise:  # of windows only the number of pages matters
                    prompts[len(candidates)] = prompt
            return prompt

        def score(step: int, places: Sequence[int]) -> list[Scored]:
            candidates = [good[place] for place in places]
            prompt = prompt_for(candidates)
            fresh = {good[place] for place in plan.fresh(step)}
            window = self._window.over(
                candidates,
                [good[place] for place in plan.following(step)],
                meter,
                lambda page: steps.advance(pages=int(page in fresh)),
                self._wait,
            )
            before = meter.spent("rerank")
            with tools.watch("rerank", None), meter.stage("rerank"):
                scored = self._passes.score(window, prompt.text_ids, prompt.query_mask, ratio)
            meter.count(scored)
            self._note(scored, meter.spent("rerank") - before)
            steps.advance(passes=1)
            return by_page(scored, pointwise=pointwise)

        return run_passes(plan, score, key=lambda page: page.score)

    def _note(self, scored: WindowScores, ms: float) -> None:
        """Keeps what a pass took, and the pages that were encoded for it, which a GPU may end within the pass."""
        tools, factor = self._tools, self._tools.bundle.image.factor
        tools.measured.passed(scored.text_tokens + scored.kept_tokens, ms)
        pixels, encode_ms = self._window.encoded()
        if pixels:
            blank = scored.blank_tokens / scored.visual_tokens
            tools.measured.encoded(pixels / factor**2 * (1 - blank), encode_ms + scored.encode_ms, blank)

    def _ranking(self, query: str, outcome: Outcome[Scored], planned: Planned, spent: Meter) -> Ranking:
        bundle, sources, warnings = self._tools.bundle, self._sources, self._feed.warnings
        choice, plan, top_k = planned.choice, planned.plan, self._call.options.top_k
        factor, pointwise = bundle.image.factor, bundle.defaults.pointwise
        return Ranking(
            query,
            ranked_pages(outcome, choice, sources, warnings, top_k, factor, pointwise=pointwise),
            len(self._good),
            plan.passes,
            spent.timings(),
            spent.tokens(),
            tuple(note_on(sources, index, text) for index in sorted(self._good) for text in warnings.get(index, ())),
            tuple(note_on(sources, index, error.reason) for index, error in sorted(self._bad.items())),
            choice.stage,
            strategy_of(plan),
            planned.budget,
        )
