"""The public API: a bundle and its engine behind ``rank(query, pages)``."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ziprerank.bundle import Blank, Bundle, Check
from ziprerank.cache.page_cache import PAGE_CACHE_BYTES, FreshPage, PageCache
from ziprerank.errors import EngineError, InvalidInput, MissingDependency
from ziprerank.inputs.feed import PageFeed
from ziprerank.inputs.pages import PageInput, PageSource, open_pages
from ziprerank.profiling.watch import Watch, unwatched
from ziprerank.prompt import PromptBuilder
from ziprerank.ranking import RankedPage, Ranking, Timings, Tokens
from ziprerank.runtime.onnxruntime import find_runtime
from ziprerank.runtime.providers import prepare
from ziprerank.windows import Outcome, Plan, WindowOption, plan_windows, run_windows

if TYPE_CHECKING:
    from ziprerank._engine import Engine, Window

POOL_BYTES = 1 << 30

ProgressCallback = Callable[[int, int], None]
"""Called with (steps done, steps in all) after each page encoded and each window scored, also for a page that an
earlier window or query has counted. What it raises ends the ranking there and reaches the caller."""


class Reranker:
    """Ranks document pages by a query in one pass per window. Several threads may share one."""

    def __init__(
        self, bundle: Bundle, engine: Engine, watch: Watch = unwatched, page_cache: PageCache | None = None
    ) -> None:
        self.bundle = bundle
        self.engine = engine
        self.watch = watch
        self.page_cache = page_cache
        self.prompts = PromptBuilder(bundle)

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
    ) -> Reranker:
        """Loads a bundle; None is the one inside the package.

        ``provider``: ``"cpu"``; ``"cuda"`` or ``"cuda:1"`` for an NVIDIA GPU, with onnxruntime-gpu and a bundle
        exported with ``--target cuda --kernels``; ``"tensorrt"`` and ``"tensorrt-rtx"`` in the same way, for a bundle
        that ``ziprerank build`` has built for that provider; ``"auto"`` is cuda where that can run, else cpu
        (``engine.info`` says which).
        ``threads``: for the engine, 0 lets ONNX Runtime choose. ``pool_bytes``: memory for page features, reused over
        calls; one window must fit. ``blank``: ``"drop"`` leaves visual tokens of blank paper (flat areas of 32 x 32 px)
        out before the model, which has so much less to do and gives slightly other scores; ``"keep"`` reads all; None
        is the bundle's recommendation. ``page_cache``: a folder where page features are kept over restarts, of at most
        ``page_cache_bytes``; several processes may use it at once. ``check``: ``"full"`` compares SHA-256 digests,
        ``"size"`` only file sizes. Raises InvalidInput, BundleError, MissingDependency, ProviderError or EngineError.
        """
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 0:
            raise InvalidInput(f"threads={threads!r}: must be a whole number, 0 lets ONNX Runtime choose")
        if isinstance(pool_bytes, bool) or not isinstance(pool_bytes, int) or pool_bytes < 1:
            raise InvalidInput(f"pool_bytes={pool_bytes!r}: must be a positive number of bytes")
        bundle = Bundle.load(path, check=check)
        engine = load_engine(bundle, provider, threads, pool_bytes, blank=blank)
        cache = None if page_cache is None else PageCache(page_cache, page_cache_bytes, bundle, engine)
        return cls(bundle, engine, page_cache=cache)

    def rank(
        self,
        query: str,
        pages: PageInput | Sequence[PageInput],
        top_k: int | None = None,
        *,
        keep_ratio: float | None = None,
        window: WindowOption = "auto",
        stride: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> Ranking:
        """Pages sorted by relevance to ``query``.

        ``pages``: one or more PDFs, image files, Pillow images or arrays (see
        ``ziprerank.inputs.pages``). ``top_k``: how many to return, None is all. ``keep_ratio``: share of each page's visual tokens that the decoder reads, in
        (0, 1]. ``window``, ``stride``: pages a pass and pages it moves, when there are more than one pass takes.
        None and "auto" mean the bundle's defaults; ``window="off"`` insists on one pass. Raises InvalidInput,
        PageError, PoolError or EngineError.
        """
        return self.rank_many(
            [query], pages, top_k, keep_ratio=keep_ratio, window=window, stride=stride, progress=progress
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
        progress: ProgressCallback | None = None,
    ) -> list[Ranking]:
        """One ranking of the same pages for each query; pages are prepared and encoded once while they fit in memory.

        Options and errors as in ``rank``. Queries never share a pass.
        """
        rankings = []
        with ExitStack() as opened:
            with self.watch("open", None):
                clock = _Meter()
                if isinstance(queries, str):
                    raise InvalidInput("rank_many takes a list of queries: use rank for one")
                checked = [self.prompts.check_query(query) for query in queries]
                ratio = _checked_ratio(self.bundle.defaults.keep_ratio if keep_ratio is None else keep_ratio)
                top_k = _checked_top_k(top_k)
                sources = opened.enter_context(open_pages(pages, self.bundle.image))
                plan = plan_windows(len(sources), window, stride, self.bundle.defaults)
                steps = _Steps(progress, len(checked) * (plan.pages + len(plan.starts)))
                clock.pages += clock.elapsed()
            feed = opened.enter_context(PageFeed(sources, self.watch))
            with _Windows(self, sources, feed) as windows:
                for query, text in zip(queries, checked, strict=True):
                    outcome = self._run(text, plan, windows, ratio=ratio, clock=clock, steps=steps)
                    ranking = _ranking(
                        query, sources, plan, outcome, top_k=top_k, factor=self.bundle.image.factor, clock=clock
                    )
                    rankings.append(ranking)
                    clock = _Meter()
        return rankings

    def _run(
        self, query: str, plan: Plan, windows: _Windows, *, ratio: float, clock: _Meter, steps: _Steps
    ) -> Outcome[_Scored]:
        with self.watch("tokenize", None):
            started = perf_counter()
            prompt = self.prompts.build(query, plan.width)
            clock.tokenize += _ms_since(started)

        def score(step: int, indices: Sequence[int]) -> list[_Scored]:
            following = plan.fresh(step + 1) if step + 1 < len(plan.starts) else range(0)
            fresh = plan.fresh(step)
            window = windows.open(indices, following, clock, lambda page: steps.advance(int(page in fresh)))
            with self.watch("rerank", None):
                started = perf_counter()
                scored = window.score(prompt.text_ids, prompt.query_mask, ratio)
                clock.vision += scored.encode_ms  # a GPU is given pages and goes on by itself
                clock.rerank += _ms_since(started) - scored.encode_ms
            clock.text += scored.text_tokens
            clock.visual += scored.visual_tokens
            clock.blank += scored.blank_tokens
            clock.kept += scored.kept_tokens
            steps.advance(1)
            logits = scored.scores.astype(np.float64)
            if not np.isfinite(logits).all():
                raise EngineError(f"the decoder returned scores that are not finite: {logits.tolist()}")
            weights = np.exp(logits - logits.max())
            shares = weights / weights.sum()
            return [
                _Scored(float(logit), float(share), tuple(kept.tolist()))
                for logit, share, kept in zip(logits, shares, scored.kept, strict=True)
            ]

        return run_windows(plan, score, key=lambda page: page.score)


def load_engine(
    bundle: Bundle,
    provider: str,
    threads: int = 0,
    pool_bytes: int = POOL_BYTES,
    *,
    profile: str = "",
    blank: Blank | None = None,
) -> Engine:
    """The C++ engine on the installed ONNX Runtime; ``profile``: prefix of the profiles that it records, none if empty.

    The environment variable ZIPRERANK_TENSORRT_CACHE names the folder for what ``tensorrt`` and ``tensorrt-rtx`` build.
    Raises InvalidInput, MissingDependency, ProviderError or EngineError.
    """
    blank = bundle.defaults.blank if blank is None else blank
    if blank not in ("drop", "keep"):
        raise InvalidInput(f"blank={blank!r}: must be 'drop' or 'keep', None is the bundle's recommendation")
    runtime = find_runtime()
    try:
        from ziprerank._engine import Engine
    except ImportError as error:
        raise MissingDependency(f"ziprerank's engine cannot be imported, install ziprerank again: {error}") from error
    library, cache = prepare(provider, runtime), os.environ.get("ZIPRERANK_TENSORRT_CACHE", "")
    return Engine(str(bundle.path), str(runtime.library), provider, threads, pool_bytes, profile, library, cache, blank)


@dataclass(frozen=True, slots=True)
class _Scored:
    score: float
    probability: float
    kept: tuple[int, ...]


class _Windows:
    """The engine's current window; kept open while the next one holds the same pages, as over many queries."""

    def __init__(self, reranker: Reranker, sources: Sequence[PageSource], feed: PageFeed) -> None:
        self._engine = reranker.engine
        self._watch = reranker.watch
        self._cache = reranker.page_cache
        self._sources = sources
        self._feed = feed
        self._indices: tuple[int, ...] = ()
        self._window: Window | None = None
        self._fresh: list[FreshPage] = []  # its pages that are not on disk yet

    def __enter__(self) -> _Windows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def open(
        self, indices: Sequence[int], following: Sequence[int], clock: _Meter, encoded: Callable[[int], None]
    ) -> Window:
        """A window with all its pages encoded, ``encoded`` called after each; the next are prepared meanwhile."""
        if self._window is not None and self._indices == tuple(indices):
            for page in indices:
                encoded(page)
            return self._window
        self._close()
        window = self._window = self._engine.window([self._sources[page].size for page in indices])
        self._feed.ahead([*indices, *following])
        for slot, page in enumerate(indices):
            with self._watch("wait", page):
                started = perf_counter()
                pixels = self._feed.pixels(page)
                clock.pages += _ms_since(started)
            with self._watch("vision", page):
                started = perf_counter()
                self._fill(window, slot, pixels)
                clock.vision += _ms_since(started)
            encoded(page)
        self._feed.release([*indices, *following])
        self._indices = tuple(indices)
        return window

    def _fill(self, window: Window, slot: int, pixels: NDArray[np.uint8]) -> None:
        if self._cache is None:
            window.encode(slot, pixels)
        elif (page := self._cache.fill(window, slot, pixels)) is not None:
            self._fresh.append(page)

    def _close(self) -> None:
        window, fresh = self._window, self._fresh
        self._window, self._indices, self._fresh = None, (), []
        if window is None:
            return
        try:
            if self._cache is not None:
                self._cache.keep(window, fresh)
        finally:
            window.close()


class _Meter:
    """Milliseconds and tokens of one query."""

    def __init__(self) -> None:
        self._started = perf_counter()
        self.pages = self.tokenize = self.vision = self.rerank = 0.0
        self.text = self.visual = self.blank = self.kept = 0

    def elapsed(self) -> float:
        return _ms_since(self._started)


class _Steps:
    def __init__(self, progress: ProgressCallback | None, total: int) -> None:
        self._progress = progress
        self._done = 0
        self._total = total

    def advance(self, steps: int) -> None:
        self._done += steps
        if self._progress is not None:
            self._progress(self._done, self._total)


def _ranking(
    query: str,
    sources: Sequence[PageSource],
    plan: Plan,
    outcome: Outcome[_Scored],
    *,
    top_k: int | None,
    factor: int,
    clock: _Meter,
) -> Ranking:
    results, cell = [], factor**2
    for rank, index in enumerate(outcome.order[:top_k], start=1):
        source, scored = sources[index], outcome.latest[index]
        results.append(
            RankedPage(
                index=index,
                score=scored.score,
                probability=scored.probability,
                rank=rank,
                kept=scored.kept,
                tokens=source.size[0] * source.size[1] // cell,
                size=source.size,
                source=source.source,
                page=source.page,
            )
        )
    timings = Timings(clock.pages, clock.tokenize, clock.vision, clock.rerank, clock.elapsed())
    tokens = Tokens(clock.text, clock.visual, clock.blank, clock.kept)
    return Ranking(query, tuple(results), plan.pages, len(plan.starts), timings, tokens)


def _checked_ratio(ratio: float) -> float:
    if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not math.isfinite(ratio) or not 0 < ratio <= 1:
        raise InvalidInput(f"keep_ratio {ratio!r}: must be over 0 and at most 1 (1 keeps every visual token)")
    return float(ratio)


def _checked_top_k(top_k: int | None) -> int | None:
    if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
        raise InvalidInput(f"top_k {top_k!r}: must be a whole number of at least 1, or None for all pages")
    return top_k


def _ms_since(started: float) -> float:
    return (perf_counter() - started) * 1e3
