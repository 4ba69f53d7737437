"""The public API: a bundle and its engine behind ``rank(query, pages)``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from copy import copy
from pathlib import Path
from types import TracebackType

from ziprerank.bundle import Blank, Bundle, Check
from ziprerank.cache.page_cache import PageCache, open_cache
from ziprerank.errors import InvalidInput, PageError, quoted
from ziprerank.first_stage.relevance import Relevance
from ziprerank.first_stage.stage import CANDIDATES, FirstStage, Relate, StageOptions, choose
from ziprerank.first_stage.texts import TextStore
from ziprerank.inputs.bad_pages import BadPage, OnBadPage, check_on_bad_page
from ziprerank.inputs.feed import PageFeed
from ziprerank.inputs.page_source import PageSource
from ziprerank.inputs.pages import PageInput, open_pages
from ziprerank.inputs.workers.limits import PAGE_MEMORY_BYTES, PAGE_TIMEOUT, PageLimits, WorkersOption
from ziprerank.inputs.workers.pool import pool
from ziprerank.pass_prompts import check_texts, pass_prompt
from ziprerank.planning import PassOptions, Planned, plan_queries, stage_for
from ziprerank.profiling.meter import Meter, ProgressCallback, Steps
from ziprerank.profiling.watch import Watch, unwatched
from ziprerank.prompt import Prompt, PromptBuilder
from ziprerank.ranking import Ranking
from ziprerank.runtime.engine import (
    PAGE_CACHE_BYTES,
    POOL_BYTES,
    EngineLike,
    EngineOptions,
    load_engine,
    options_of,
)
from ziprerank.runtime.lifetime import Lifetime
from ziprerank.runtime.open_window import OpenWindow
from ziprerank.runtime.page_names import PageNames
from ziprerank.runtime.passes import Cancel, Passes
from ziprerank.scored import Scored, by_page, good_candidates, note_on, ranked_pages
from ziprerank.strategies import StrategyOption, run_passes, strategy_of
from ziprerank.values import real_number, whole_number
from ziprerank.windows import Outcome, WindowOption, pass_width


class Reranker:
    """Ranks document pages by a query in one pass per window. Several threads may share one.

    ``close`` gives its memory and threads back; ``with Reranker.from_bundle() as reranker:`` closes it at the end. A
    process that was forked cannot use a reranker of its parent.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: EngineLike,
        watch: Watch = unwatched,
        page_cache: PageCache | None = None,
        options: EngineOptions | None = None,
    ) -> None:
        """Puts a bundle and an engine together; ``from_bundle`` is the usual way.

        Args:
            bundle: How pages and prompts are prepared.
            engine: Encodes and scores pages; ``load_engine`` makes one. ``close`` closes it too.
            watch: Hook called around each stage of a ranking.
            page_cache: Page features on disk, for an engine of ``load_engine``.
            options: What loads the same engine again; None: derived from ``engine`` when asked for.
        """
        self.bundle = bundle
        self.engine = engine
        self.watch = watch
        self.page_cache = page_cache
        self.prompts = PromptBuilder(bundle, None if options is None else options.max_prompt_tokens)
        self._options = options
        self._owner = ""
        self._texts = TextStore()
        self._names = PageNames()
        self._lifetime = Lifetime("this reranker")
        self.page_limits = PageLimits() if options is None else options.page_limits
        pool().warm_up(self.page_limits)

    @classmethod
    def from_bundle(
        cls,
        path: str | Path | None = None,
        *,
        provider: str = "cpu",
        threads: int = 0,
        pool_bytes: int = POOL_BYTES,
        blank: Blank | None = None,
        page_cache: str | Path | None = None,
        page_cache_bytes: int = PAGE_CACHE_BYTES,
        check: Check = "full",
        page_workers: WorkersOption = "auto",
        page_timeout: float = PAGE_TIMEOUT,
        page_memory_bytes: int = PAGE_MEMORY_BYTES,
        max_prompt_tokens: int | None = None,
    ) -> Reranker:
        """Loads a bundle and an engine for it.

        Args:
            path: The bundle's folder; None is the bundle inside the package.
            provider: ``"cpu"``; ``"cuda"`` or ``"cuda:1"`` for an NVIDIA GPU, with onnxruntime-gpu and a bundle
                exported with ``--target cuda --kernels``; ``"tensorrt"`` and ``"tensorrt-rtx"`` in the same way, for a
                bundle that ``ziprerank build`` has built for that provider; ``"auto"`` is cuda where that can run, else
                cpu (``engine.info`` says which).
            threads: Threads of the engine; 0 is as many as the CPUs that this process may use.
            pool_bytes: Memory for page features in bytes, reused over calls; one window must fit.
            blank: ``"drop"`` leaves visual tokens of blank paper (flat areas of 32 x 32 px) out before the model, which
                has so much less to do and gives slightly other scores; ``"keep"`` reads all; None is the bundle's
                recommendation.
            page_cache: A folder where page features are kept over restarts; several processes may share it.
            page_cache_bytes: Most bytes of that folder.
            check: ``"full"`` compares SHA-256 digests of the bundle's files, ``"size"`` only their sizes, ``"none"``
                reads the manifest alone.
            page_workers: Child processes that read PDFs and images, which all rerankers of this process share: most
                of them, ``"auto"`` for one for each CPU that this process may use, at most 4, or ``"off"`` to read
                files in this process, without the two limits that follow.
            page_timeout: Most seconds that a page, or opening a file, takes in a child process.
            page_memory_bytes: Most bytes that a child process allocates for a page.
            max_prompt_tokens: Most text tokens of one pass's prompt, which may hold the query once for each page; None
                is as many as the decoder reads of a full window's pages (``ziprerank.prompt.prompt_limit``).

        Raises:
            InvalidInput: An option that no engine can use.
            BundleError: The bundle is missing, damaged or of a newer format.
            MissingDependency: A package that the provider needs is not installed.
            ProviderError: The provider cannot run here.
            EngineError: A graph cannot be loaded.
        """
        return cls.from_options(
            EngineOptions(
                path,
                provider,
                threads,
                pool_bytes,
                blank,
                page_cache,
                page_cache_bytes,
                check,
                page_workers,
                page_timeout,
                page_memory_bytes,
                max_prompt_tokens,
            )
        )

    @classmethod
    def from_options(cls, options: EngineOptions) -> Reranker:
        """Loads the bundle and the engine that ``options`` describe. Raises as ``from_bundle``."""
        pool().warm_up(options.page_limits)  # it starts while the engine is loaded
        bundle = options.load_bundle()
        engine = load_engine(bundle, options)
        return cls(bundle, engine, page_cache=open_cache(options, bundle, engine), options=options)

    def __enter__(self) -> Reranker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the engine, which gives its memory and threads back, once the rankings under way have returned.

        Later rankings raise InvalidInput. May be called twice; in a forked process it does nothing.

        Raises:
            InvalidInput: A ranking of this thread is under way, such as in its ``progress``.
        """
        if self._lifetime.end():
            self.engine.close()

    @property
    def options(self) -> EngineOptions:
        """The options that load this reranker's engine again.

        Raises:
            InvalidInput: The engine is of a kind that options cannot load.
        """
        return self._options or options_of(self.bundle, self.engine)

    def for_owner(self, owner: str) -> Reranker:
        """Returns a reranker on the same engine whose page features are found, in memory and on disk, by it alone.

        Nobody learns from the time of a ranking which pages another owner had ranked before.

        Args:
            owner: Any name; rerankers of the same name share their features, and ``""`` is the usual one.
        """
        own = copy(self)
        own._owner = owner
        return own

    def rank(
        self,
        query: str,
        pages: PageInput | Sequence[PageInput],
        top_k: int | None = None,
        *,
        keep_ratio: float | None = None,
        window: WindowOption = "auto",
        stride: int | None = None,
        strategy: StrategyOption = "auto",
        first_stage: FirstStage = "auto",
        candidates: int = CANDIDATES,
        instruction: str | None = None,
        on_bad_page: OnBadPage = "raise",
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> Ranking:
        """Sorts pages by relevance to a query.

        Args:
            query: What to look for.
            pages: One or more PDFs, image files, Pillow images or arrays (see ``ziprerank.inputs.pages``).
            top_k: How many pages to return; None is all.
            keep_ratio: Share of each page's visual tokens that the decoder reads, in (0, 1]; None is the bundle's.
            window: Pages in one pass when there are more than one pass takes; ``"auto"`` is the bundle's, ``"off"``
                insists on one pass.
            stride: Pages by which the window moves; None is the bundle's.
            strategy: ``"windows"`` slides windows from the end of the candidates to their front. ``"partition"``
                compares groups of pages with one page of the first pass, and ranks the best in a last one.
                ``"auto"`` is partition where ``top_k`` is at most half a window and it takes fewer passes.
            first_stage: What picks the pages that the model reads. ``"text"`` is BM25 over the text layer of PDFs,
                read once for each file; pages without text are never left out by it. ``"relevance"`` is late
                interaction: every page goes through the vision tower once, and counts by the sum over the query's
                tokens of the best cosine with one of its visual tokens. ``"none"`` reads all pages. ``"auto"``, where
                there are more pages than a pass takes, is text if nine tenths of them have text, else relevance if the
                bundle says that it ranks, else none. The pages that are left out follow the others, in the order of the
                first stage.
            candidates: Pages that the first stage leaves for the model.
            instruction: What makes a page relevant, where the bundle's prompt has a place for it; None is the prompt's.
            on_bad_page: ``"raise"`` ends the ranking at a page, or a document, that cannot be shown. ``"skip"`` ranks
                the others as if it had not been given, but for its place among the candidates, and names it in
                ``Ranking.skipped``; a document that cannot be opened takes one place.
            progress: Called with (steps done, steps in all) after each page encoded and each window scored, and about
                ten times a second while a page is not ready; may raise to end the ranking.
            cancel: Ends the ranking once its ``is_set()`` is true, in the middle of a pass too: a ``threading.Event``
                that another thread sets, or a deadline. It is asked after each step, and about ten times a second while
                a page is not ready or a pass runs; a pass ends with the operator of the model that it is in. With a
                ``cancel``, Ctrl-C ends a pass as well.

        Raises:
            InvalidInput: The query or an option cannot be used, or the reranker is closed.
            Cancelled: ``cancel`` was set.
            PageError: A page cannot be ranked, or takes more time or memory than the limits allow; with
                ``on_bad_page="skip"``, none can.
            WorkerError: No process can be started to prepare pages in.
            PoolError: The pool has no room for one window.
            EngineError: The engine failed, or it was loaded before this process was forked.
        """
        return self.rank_many(
            [query],
            pages,
            top_k,
            keep_ratio=keep_ratio,
            window=window,
            stride=stride,
            strategy=strategy,
            first_stage=first_stage,
            candidates=candidates,
            instruction=instruction,
            on_bad_page=on_bad_page,
            progress=progress,
            cancel=cancel,
        )[0]

    def rank_many(
        self,
        queries: Sequence[str],
        pages: PageInput | Sequence[PageInput],
        top_k: int | None = None,
        *,
        keep_ratio: float | None = None,
        window: WindowOption = "auto",
        stride: int | None = None,
        strategy: StrategyOption = "auto",
        first_stage: FirstStage = "auto",
        candidates: int = CANDIDATES,
        instruction: str | None = None,
        on_bad_page: OnBadPage = "raise",
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> list[Ranking]:
        """Ranks the same pages for each query; pages are prepared and encoded once while they fit in memory.

        Queries never share a pass. Arguments and errors are those of ``rank``.
        """
        with self._lifetime.use(), ExitStack() as opened:
            meter = Meter()
            with self.watch("open", None), meter.stage("pages"):
                if isinstance(queries, str):
                    raise InvalidInput("rank_many takes a list of queries: use rank for one")
                texts = [self.prompts.check_query(query) for query in queries]
                asked = self.prompts.check_instruction(instruction)
                ratio = _checked_ratio(self.bundle.defaults.keep_ratio if keep_ratio is None else keep_ratio)
                top_k = _checked_top_k(top_k)
                skip = check_on_bad_page(on_bad_page) == "skip"
                options = PassOptions(window, stride, strategy, StageOptions(first_stage, candidates), top_k)
                rules, limits = self.bundle.image, self.page_limits
                sources = opened.enter_context(open_pages(pages, rules, on_bad_page, limits=limits))
                bad = {index: source.error for index, source in enumerate(sources) if isinstance(source, BadPage)}
                good = good_candidates(sources, bad)
                check_texts(self.prompts, sources)
                passes = opened.enter_context(Passes(cancel))
                steps = Steps(progress, len(texts) * (len(good) + 1), passes.check)  # while the first stage goes on
                feed = opened.enter_context(PageFeed(sources, self.watch))
                filled = OpenWindow(self.engine, sources, feed, self.page_cache, self.watch, self._owner, self._names)
                open_window = opened.enter_context(filled)
                good, planned = self._plan(texts, sources, bad, options, steps, open_window, meter, skip=skip)
                for text, one in zip(texts, planned, strict=True):
                    self.prompts.check_length(text, one.plan.width, asked)
            each = max((one.steps for one in planned), default=0)  # as many for each query, whatever it reads
            steps.begin_again(len(texts) * each)
            outcomes: list[tuple[Outcome[Scored], Planned, Meter]] = []
            while len(outcomes) < len(texts):
                text, one = texts[len(outcomes)], planned[len(outcomes)]
                try:
                    outcome = self._score(
                        text, asked, one, sources, open_window, ratio=ratio, meter=meter, steps=steps, passes=passes
                    )
                except PageError as error:
                    if not skip or error.index is None:
                        raise
                    with meter.stage("pages"):
                        bad |= {error.index: error} | feed.bad_pages(one.choice.chosen, lambda: steps.advance(0))
                        good, planned = self._plan(texts, sources, bad, options, steps, open_window, meter, skip=skip)
                    each = max(one.steps for one in planned)
                    steps.begin_again(len(texts) * each)
                    meter.forget_tokens()
                    outcomes.clear()
                else:
                    steps.advance(each - one.steps)
                    outcomes.append((outcome, one, meter))
                    meter.stop()
                    meter = Meter()
            factor, defaults = self.bundle.image.factor, self.bundle.defaults
            return [
                Ranking(
                    query,
                    ranked_pages(
                        outcome, one.choice, sources, feed.warnings, top_k, factor, pointwise=defaults.pointwise
                    ),
                    len(good),
                    one.plan.passes,
                    spent.timings(),
                    spent.tokens(),
                    tuple(
                        note_on(sources, index, text) for index in sorted(good) for text in feed.warnings.get(index, ())
                    ),
                    tuple(note_on(sources, index, error.reason) for index, error in sorted(bad.items())),
                    one.choice.stage,
                    strategy_of(one.plan),
                )
                for query, (outcome, one, spent) in zip(queries, outcomes, strict=True)
            ]

    def read_texts(
        self,
        pages: Sequence[PageSource],
        window: WindowOption = "auto",
        first_stage: FirstStage = "auto",
        candidates: int = CANDIDATES,
    ) -> None:
        """Reads the texts that ``rank`` with these options would read of opened pages, and needs no engine for it.

        A service calls it before its request waits for the engine, so that no other request waits for the reading.
        Raises InvalidInput as ``rank``.
        """
        good = [index for index, page in enumerate(pages) if not isinstance(page, BadPage)]
        defaults = self.bundle.defaults
        stage = stage_for(StageOptions(first_stage, candidates), defaults)
        choose(self._texts, (), pages, good, stage, pass_width(window, defaults), self._owner)

    def _plan(
        self,
        queries: Sequence[str],
        sources: Sequence[PageSource],
        bad: dict[int, PageError],
        options: PassOptions,
        steps: Steps,
        open_window: OpenWindow,
        meter: Meter,
        *,
        skip: bool,
    ) -> tuple[list[int], list[Planned]]:
        """Returns the good candidates and the plans; with ``skip``, pages that cannot be shown go to ``bad``."""
        defaults, owner = self.bundle.defaults, self._owner

        def waiting() -> None:
            steps.advance(0)

        relate: Relate | None = None
        if self.engine.info.get("relates"):
            width = pass_width(options.window, defaults)
            relate = Relevance(self.prompts, open_window, width, meter, lambda: steps.advance(1), waiting).scores
        while True:
            good = good_candidates(sources, bad)
            try:
                return good, plan_queries(
                    queries, sources, good, options, defaults, self._texts, owner, waiting, relate
                )
            except PageError as error:  # of the stage that encodes pages
                if not skip or error.index is None:
                    raise
                bad |= {error.index: error}
                steps.begin_again(len(queries) * (len(good) + 1))

    def _score(
        self,
        query: str,
        instruction: str,
        planned: Planned,
        sources: Sequence[PageSource],
        open_window: OpenWindow,
        *,
        ratio: float,
        meter: Meter,
        steps: Steps,
        passes: Passes,
    ) -> Outcome[Scored]:
        """Runs every pass of the plan: tokenize, encode the pass's pages, prune and score them."""
        plan, good, pointwise = planned.plan, planned.choice.chosen, self.bundle.defaults.pointwise
        prompts: dict[int, Prompt] = {}

        def prompt_for(candidates: Sequence[int]) -> Prompt:
            prompt = prompts.get(len(candidates))
            if prompt is None:
                with self.watch("tokenize", None), meter.stage("tokenize"):
                    prompt = pass_prompt(self.prompts, query, instruction, candidates, sources, open_window.warn)
                if not pointwise:  # of windows only the number of pages matters
                    prompts[len(candidates)] = prompt
            return prompt

        def score(step: int, places: Sequence[int]) -> list[Scored]:
            candidates = [good[place] for place in places]
            prompt = prompt_for(candidates)
            fresh = {good[place] for place in plan.fresh(step)}
            window = open_window.over(
                candidates,
                [good[place] for place in plan.following(step)],
                meter,
                lambda page: steps.advance(int(page in fresh)),
                lambda: steps.advance(0),
            )
            with self.watch("rerank", None), meter.stage("rerank"):
                scored = passes.score(window, prompt.text_ids, prompt.query_mask, ratio)
            meter.count(scored)
            steps.advance(1)
            return by_page(scored, pointwise=pointwise)

        return run_passes(plan, score, key=lambda page: page.score)


def _checked_ratio(ratio: float) -> float:
    number = real_number(ratio)
    if number is None or not 0 < number <= 1:
        raise InvalidInput(f"keep_ratio {quoted(ratio)}: must be over 0 and at most 1 (1 keeps every visual token)")
    return number


def _checked_top_k(top_k: int | None) -> int | None:
    if top_k is None:
        return None
    number = whole_number(top_k)
    if number is None or number < 1:
        raise InvalidInput(f"top_k {quoted(top_k)}: must be a whole number of at least 1, or None for all pages")
    return number
