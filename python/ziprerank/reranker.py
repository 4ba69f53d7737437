"""The public API: a bundle and its engine behind ``rank(query, pages)``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from copy import copy
from pathlib import Path
from types import TracebackType

from ziprerank.bundle import Blank, Bundle, Check
from ziprerank.cache.page_cache import PageCache, open_cache
from ziprerank.call import Call, checked_call, stage_options
from ziprerank.first_stage.stage import FirstStage, choose, unseen
from ziprerank.first_stage.texts import TextStore
from ziprerank.inputs.bad_pages import BadPage, OnBadPage
from ziprerank.inputs.feed import most_at_once
from ziprerank.inputs.page_source import PageSource
from ziprerank.inputs.pages import PageInput, open_pages
from ziprerank.inputs.workers.limits import PAGE_MEMORY_BYTES, PAGE_TIMEOUT, PageLimits, WorkersOption
from ziprerank.inputs.workers.pool import pool
from ziprerank.planning import check_relates, stage_for
from ziprerank.profiling.meter import Meter, ProgressCallback
from ziprerank.profiling.watch import Watch, unwatched
from ziprerank.prompt import PromptBuilder
from ziprerank.ranking import Ranking
from ziprerank.ranking_plan import RankingPlan
from ziprerank.ranking_run import RankingRun, Tools
from ziprerank.runtime.calibration import calibrate
from ziprerank.runtime.engine import (
    PAGE_CACHE_BYTES,
    POOL_BYTES,
    EngineLike,
    EngineOptions,
    load_engine,
    options_of,
)
from ziprerank.runtime.lifetime import Lifetime
from ziprerank.runtime.page_names import PageNames
from ziprerank.runtime.passes import Cancel, Passes
from ziprerank.runtime.rates import Measured
from ziprerank.strategies import StrategyOption
from ziprerank.windows import WindowOption, pass_width


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

        ``measured`` keeps what rankings take, for ``plan`` and ``budget_ms``.
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
        self.measured = Measured(most_at_once())
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
        candidates: int | None = None,
        instruction: str | None = None,
        on_bad_page: OnBadPage = "raise",
        budget_ms: float | None = None,
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
            candidates: Pages that the first stage leaves for the model; None is 20, or what ``budget_ms`` chooses.
            instruction: What makes a page relevant, where the bundle's prompt has a place for it; None is the prompt's.
            on_bad_page: ``"raise"`` ends the ranking at a page, or a document, that cannot be shown. ``"skip"`` ranks
                the others as if it had not been given, but for its place among the candidates, and names it in
                ``Ranking.skipped``; a document that cannot be opened takes one place.
            budget_ms: Milliseconds that the ranking should take, by an estimate made before the first page is rendered
                (``plan``). If the usual ``keep_ratio`` and ``candidates`` take longer, lower ones are chosen, but not
                in place of one that is given; ``Ranking.budget`` says which, also where nothing is within the budget
                and the cheapest is chosen. It is no deadline, which ``cancel`` is. Where there are no rates yet,
                ``ziprerank.runtime.calibration`` runs before, and its time does not count. Each query of
                ``rank_many`` has the budget to itself, as if no other one had encoded its pages.
            progress: Called with (steps done, steps in all) after each page encoded and each window scored, and about
                ten times a second while a page is not ready; may raise to end the ranking. Both numbers have ``pages``
                and ``passes``, the steps of either kind.
            cancel: Ends the ranking once its ``is_set()`` is true, in the middle of a pass too: a ``threading.Event``
                that another thread sets, or a deadline. It is asked after each step, and about ten times a second while
                a page or its text is not ready or a pass runs; a pass ends with the operator of the model that it is
                in. Ctrl-C ends a pass in the same way, in the main thread or with a ``cancel``.

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
            budget_ms=budget_ms,
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
        candidates: int | None = None,
        instruction: str | None = None,
        on_bad_page: OnBadPage = "raise",
        budget_ms: float | None = None,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> list[Ranking]:
        """Ranks the same pages for each query; pages are prepared and encoded once while they fit in memory.

        Queries never share a pass. Arguments and errors are those of ``rank``.
        """
        with self._lifetime.use(), ExitStack() as opened:
            passes = opened.enter_context(Passes(cancel, ctrl_c=self.watch is unwatched))
            call = checked_call(
                self.prompts,
                self.bundle.defaults,
                queries,
                top_k,
                keep_ratio=keep_ratio,
                window=window,
                stride=stride,
                strategy=strategy,
                first_stage=first_stage,
                candidates=candidates,
                instruction=instruction,
                on_bad_page=on_bad_page,
                budget_ms=budget_ms,
            )
            if call.budget is not None:
                self._calibrate(passes)
            meter = Meter()
            with self.watch("open", None), meter.stage("pages"):
                run = self._opened(opened, call, pages, on_bad_page, passes, progress, meter)
            return run.rankings()

    def plan(
        self,
        query: str | None,
        pages: PageInput | Sequence[PageInput],
        top_k: int | None = None,
        *,
        keep_ratio: float | None = None,
        window: WindowOption = "auto",
        stride: int | None = None,
        strategy: StrategyOption = "auto",
        first_stage: FirstStage = "auto",
        candidates: int | None = None,
        instruction: str | None = None,
        on_bad_page: OnBadPage = "raise",
        budget_ms: float | None = None,
    ) -> RankingPlan:
        """Says what ``rank`` with the same arguments would read, and about how long it would take.

        It opens the pages, encodes none of them, and reads the texts that the first stage reads. The estimate goes by
        what rankings of this reranker have taken; where there were none, ``ziprerank.runtime.calibration`` runs first,
        whose docstring says what that is.

        Args:
            query: As for ``rank``. None is any query: its own words are left out of the text tokens, and of a first
                stage as many pages as it leaves for a query whose words are in the document.
            pages: As for ``rank``.
            top_k: As for ``rank``.
            keep_ratio: As for ``rank``.
            window: As for ``rank``.
            stride: As for ``rank``.
            strategy: As for ``rank``.
            first_stage: As for ``rank``.
            candidates: As for ``rank``.
            instruction: As for ``rank``.
            on_bad_page: As for ``rank``; a page that cannot be rendered is not known to be bad.
            budget_ms: As for ``rank``; the plan says what would be chosen.

        Raises as ``rank``.
        """
        with self._lifetime.use(), ExitStack() as opened:
            passes = opened.enter_context(Passes(None, ctrl_c=self.watch is unwatched))
            call = checked_call(
                self.prompts,
                self.bundle.defaults,
                None if query is None else [query],
                top_k,
                keep_ratio=keep_ratio,
                window=window,
                stride=stride,
                strategy=strategy,
                first_stage=first_stage,
                candidates=candidates,
                instruction=instruction,
                on_bad_page=on_bad_page,
                budget_ms=budget_ms,
            )
            self._calibrate(passes)
            return self._opened(opened, call, pages, on_bad_page, passes, None, Meter(), only_plan=True).described()

    def read_texts(
        self,
        pages: Sequence[PageSource],
        window: WindowOption = "auto",
        first_stage: FirstStage = "auto",
        candidates: int | None = None,
        query: str | None = None,
    ) -> int:
        """Reads the texts that ``rank`` with these options would read of opened pages, and needs no engine for it.

        A service calls it before its request waits for the engine, so that no other request waits for the reading.
        What could not be read is not tried again by ``rank`` over the same opened pages.

        Args:
            pages: The candidates.
            window: As for ``rank``.
            first_stage: As for ``rank``.
            candidates: As for ``rank``.
            query: As for ``rank``; None only reads.

        Returns:
            How many pages the first stage leaves for the model, as far as none of them turns out to be bad; of no query
            all that are good.

        Raises:
            InvalidInput: As ``rank``.
            Interrupted: The ``Interrupt`` that is applied to this thread was set.
            WorkerError: No process can be started to read files in.
        """
        good = [index for index, page in enumerate(pages) if not isinstance(page, BadPage)]
        defaults, relates = self.bundle.defaults, bool(self.engine.info.get("relates"))
        stage = stage_for(stage_options(first_stage, candidates), defaults)
        check_relates(stage, relates=relates)
        queries = () if query is None else (query,)
        choices = choose(
            self._texts,
            queries,
            pages,
            good,
            stage,
            pass_width(window, defaults),
            self._owner,
            relate=unseen if relates else None,
            ranks=defaults.relevance_ranks and relates,
        )
        return len(choices[0].chosen) if choices else len(good)

    def _opened(
        self,
        opened: ExitStack,
        call: Call,
        pages: PageInput | Sequence[PageInput],
        on_bad_page: OnBadPage,
        passes: Passes,
        progress: ProgressCallback | None,
        meter: Meter,
        *,
        only_plan: bool = False,
    ) -> RankingRun:
        sources = opened.enter_context(open_pages(pages, self.bundle.image, on_bad_page, limits=self.page_limits))
        run = RankingRun(self._tools(), call, sources, passes, progress, meter, only_plan=only_plan)
        return opened.enter_context(run)

    def _calibrate(self, passes: Passes) -> None:
        """Measures this machine where no ranking has done so yet."""
        if self.measured.rates() is None:
            found = calibrate(self.bundle, self.engine, self.prompts, self.page_limits, passes)
            self.measured.calibrated, self.measured.calibrated_passes = found

    def _tools(self) -> Tools:
        return Tools(
            self.bundle,
            self.engine,
            self.prompts,
            self._texts,
            self.page_cache,
            self.watch,
            self._owner,
            self.measured,
            self._names,
        )
