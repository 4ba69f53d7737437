"""What one call of ``rank`` or ``rank_many`` does with pages that are open: each query, pass by pass, to a ranking.

A page that turns out to be bad is left out where the call says so: the passes are planned anew, and every query begins
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType

from ziprerank.bundle import Bundle
from ziprerank.cache.page_cache import PageCache
from ziprerank.errors import PageError
from ziprerank.first_stage.relevance import Relevance
from ziprerank.first_stage.stage import Relate
from ziprerank.first_stage.texts import TextStore
from ziprerank.inputs.bad_pages import BadPage
from ziprerank.inputs.feed import PageFeed
from ziprerank.inputs.page_source import PageSource
from ziprerank.pass_prompts import check_texts, pass_prompt
from ziprerank.planning import PassOptions, Planned, plan_queries
from ziprerank.profiling.meter import Meter, ProgressCallback, Steps
from ziprerank.profiling.watch import Watch
from ziprerank.prompt import Prompt, PromptBuilder
from ziprerank.ranking import Ranking
from ziprerank.runtime.engine import EngineLike
from ziprerank.runtime.open_window import OpenWindow
from ziprerank.runtime.page_names import PageNames
from ziprerank.runtime.passes import Passes
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
    names: PageNames


@dataclass(frozen=True, slots=True)
class Call:
    """What a call asks for, checked.

    Attributes:
        queries: As they were given, for the rankings.
        texts: As ``check_query`` returned them.
        instruction: As ``check_instruction`` returned it.
        keep_ratio: In (0, 1].
        options: Which pages are read in which passes.
        skip: Whether bad pages are skipped.
    """

    queries: tuple[str, ...]
    texts: tuple[str, ...]
    instruction: str
    keep_ratio: float
    options: PassOptions
    skip: bool


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
    ) -> None:
        """Plans the passes of every query, for which the first stage may read texts, or encode every page.

        Args:
            tools: What ranks.
            call: What is asked for.
            sources: All candidates, open.
            passes: Scores windows.
            progress: As for ``Reranker.rank``.
            meter: That of the first query, which counts what comes before the first page too.

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
        self._steps = Steps(progress, self._first_steps, passes.check)  # while the first stage goes on
        with ExitStack() as opened:
            self._feed = opened.enter_context(PageFeed(sources, tools.watch))
            self._window = opened.enter_context(
                OpenWindow(tools.engine, sources, self._feed, tools.page_cache, tools.watch, tools.owner, tools.names)
            )
            self._planned = self._plan()
            for text, one in zip(call.texts, self._planned, strict=True):
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

    @property
    def _first_steps(self) -> int:
        """Steps while the first stage goes on, of which nobody knows yet what it leaves."""
        return len(self._call.texts) * (len(self._good) + 1)

    def _plan(self) -> list[Planned]:
        """Plans each query; a page that the first stage finds to be bad is left out where the call says so."""
        tools, call = self._tools, self._call
        defaults = tools.bundle.defaults
        relate: Relate | None = None
        if tools.engine.info.get("relates"):
            width = pass_width(call.options.window, defaults)
            relate = Relevance(
                tools.prompts, self._window, width, self._meter, lambda: self._steps.advance(1), self._wait
            ).scores
        while True:
            self._good = good_candidates(self._sources, self._bad)
            try:
                return plan_queries(
                    call.texts,
                    self._sources,
                    self._good,
                    call.options,
                    defaults,
                    tools.texts,
                    tools.owner,
                    self._wait,
                    relate,
                )
            except PageError as error:  # of the stage that encodes pages
                if not call.skip or error.index is None:
                    raise
                self._bad |= {error.index: error}
                self._steps.begin_again(self._first_steps, 0, 0)

    def _wait(self) -> None:
        """Tells the caller that nothing is done meanwhile, who may end the ranking."""
        self._steps.advance(0)

    def _outcomes(self) -> list[tuple[Outcome[Scored], Planned, Meter]]:
        """Scores every query's passes; all again without the pages that are found to be bad."""
        outcomes: list[tuple[Outcome[Scored], Planned, Meter]] = []
        each, meter = self._begin(), self._meter
        while len(outcomes) < len(self._call.texts):
            planned = self._planned[len(outcomes)]
            try:
                outcome = self._score(self._call.texts[len(outcomes)], planned, meter)
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
                self._steps.advance(each - planned.steps)
                outcomes.append((outcome, planned, meter))
                meter.stop()
                meter = Meter()
        return outcomes

    def _begin(self) -> int:
        """Counts steps from here on, as many for each query, whatever it reads; returns how many these are."""
        each = max((one.steps for one in self._planned), default=0)
        pages, passes = (sum(getattr(one.plan, what) for one in self._planned) for what in ("pages", "passes"))
        self._steps.begin_again(len(self._planned) * each, pages, passes)
        return each

    def _score(self, query: str, planned: Planned, meter: Meter) -> Outcome[Scored]:
        """Runs every pass of the plan: tokenize, encode the pass's pages, prune and score them."""
        tools, call, steps = self._tools, self._call, self._steps
        plan, good, pointwise = planned.plan, planned.choice.chosen, tools.bundle.defaults.pointwise
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
                lambda page: steps.read(int(page in fresh)),
                self._wait,
            )
            with tools.watch("rerank", None), meter.stage("rerank"):
                scored = self._passes.score(window, prompt.text_ids, prompt.query_mask, call.keep_ratio)
            meter.count(scored)
            steps.scored()
            return by_page(scored, pointwise=pointwise)

        return run_passes(plan, score, key=lambda page: page.score)

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
        )
