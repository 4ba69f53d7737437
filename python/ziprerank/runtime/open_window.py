"""The engine's current window, filled with pages and kept open while the next pass holds the same ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from ziprerank.cache.page_cache import FreshPage, PageCache
from ziprerank.inputs.feed import PageFeed
from ziprerank.inputs.page_source import PageSource
from ziprerank.inputs.texted_page import has_pixels
from ziprerank.profiling.meter import Meter
from ziprerank.profiling.watch import Watch
from ziprerank.runtime.engine import EngineLike, WindowLike
from ziprerank.runtime.page_names import Named, NamingWindow, PageNames

if TYPE_CHECKING:
    from ziprerank._engine import Window


class OpenWindow:
    """Fills windows with pages; use as a context manager, from one thread."""

    def __init__(
        self,
        engine: EngineLike,
        sources: Sequence[PageSource],
        feed: PageFeed,
        cache: PageCache | None,
        watch: Watch,
        owner: str = "",
        names: PageNames | None = None,
    ) -> None:
        """Makes one for a ranking; ``names`` are those of the engine's pages, None if none are to be found by them."""
        self._names = PageNames() if names is None else names
        self._engine = engine
        self._sources = sources
        self._feed = feed
        self._cache = cache
        self._watch = watch
        self._owner = owner
        self._indices: tuple[int, ...] = ()
        self._window: WindowLike | None = None
        self._fresh: list[FreshPage] = []  # its pages that are not on disk yet
        self._encoded_pixels = 0
        self._encoded_ms = 0.0

    def __enter__(self) -> OpenWindow:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def over(
        self,
        indices: Sequence[int],
        following: Sequence[int],
        meter: Meter,
        encoded: Callable[[int], None],
        waiting: Callable[[], None],
    ) -> WindowLike:
        """Returns a window in which every page of ``indices`` is encoded.

        Args:
            indices: The candidates of the window, in slot order.
            following: Candidates of the next window, which are prepared meanwhile.
            meter: Counts the time that pages take.
            encoded: Called with each candidate once its page is encoded.
            waiting: Called about ten times a second while a page is not ready; may raise to end the wait.

        Raises:
            PageError: A page cannot be prepared.
            PoolError: The pool has no room for the window.
            EngineError: A page cannot be encoded.
        """
        if self._window is not None and self._indices == tuple(indices):
            for page in indices:
                encoded(page)
            return self._window
        self._close()
        shown = [page for page in indices if has_pixels(self._sources[page])]
        needed = [*shown, *(page for page in following if has_pixels(self._sources[page]))]
        window = self._window = self._engine.window([self._sources[page].size for page in shown], owner=self._owner)
        found = {page for slot, page in enumerate(shown) if self._find(window, slot, page)}
        held = found | self._names.held(self._engine, self._sources, needed[len(shown) :], self._owner)
        self._feed.ahead(page for page in needed if page not in held)
        for slot, page in enumerate(shown):
            if page not in found:
                with self._watch("wait", page), meter.stage("pages"):
                    pixels = self._feed.pixels(page, waiting)
                with self._watch("vision", page), meter.stage("vision"):
                    self._fill(window, slot, pixels)
                if isinstance(window, NamingWindow):
                    named = Named(window.name(slot), self._feed.said[page])
                    self._names.keep(self._sources[page], self._owner, named)
            encoded(page)
        for page in indices:
            if page not in shown:  # a text alone has nothing to encode
                encoded(page)
        self._feed.release(needed)
        self._indices = tuple(indices)
        return window

    def encoded(self) -> tuple[int, float]:
        """Returns the pixels of the pages that went through the vision tower since the last call, and milliseconds."""
        found = self._encoded_pixels, self._encoded_ms
        self._encoded_pixels, self._encoded_ms = 0, 0.0
        return found

    def warn(self, page: int, text: str) -> None:
        """Adds a warning about a candidate."""
        self._feed.warn(page, text)

    def _find(self, window: WindowLike, slot: int, page: int) -> bool:
        """Fills a slot if the pool has the page by its name: it need not be rendered then."""
        known = self._names.get(self._sources[page], self._owner)
        if known is None or not isinstance(window, NamingWindow) or not window.find_named(slot, known.name):
            return False
        for text in known.warnings:
            self._feed.warn(page, text)
        return True

    def _fill(self, window: WindowLike, slot: int, pixels: NDArray[np.uint8]) -> None:
        started = perf_counter()
        if self._cache is None:
            encoded = not window.encode(slot, pixels)
        else:
            page = self._cache.fill(cast("Window", window), slot, pixels, self._owner)
            encoded = page is not None
            if page is not None:
                self._fresh.append(page)
        if encoded:
            self._encoded_pixels += pixels.shape[0] * pixels.shape[1]
            self._encoded_ms += (perf_counter() - started) * 1e3

    def _close(self) -> None:
        window, fresh = self._window, self._fresh
        self._window, self._indices, self._fresh = None, (), []
        if window is None:
            return
        try:
            if self._cache is not None:
                self._cache.keep(cast("Window", window), fresh)
        finally:
            window.close()
