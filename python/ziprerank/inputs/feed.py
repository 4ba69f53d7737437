"""Prepares pages in threads ahead of the engine, hands them over once, and drops those that nobody needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from time import perf_counter
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ziprerank.errors import PageError
from ziprerank.inputs.page_source import PageSource
from ziprerank.inputs.pages import read_page
from ziprerank.inputs.prepared import Prepared
from ziprerank.inputs.workers.pool import Interrupt
from ziprerank.profiling.watch import Watch, unwatched
from ziprerank.runtime.cpus import usable_cpus
from ziprerank.runtime.threads import Workers

KEPT_BYTES = 128 << 20  # pixels held beyond those of the current window: 50 pages of 1024 x 800 px
_MOST_WORKERS = 4
_POLL_SECONDS = 0.1


def most_at_once() -> int:
    """Returns how many pages are prepared at once."""
    return min(_MOST_WORKERS, usable_cpus())


class PageFeed:
    """Holds prepared pixels by page index; use from one thread, as a context manager.

    It holds the pages of the current window, those asked for ahead, and at most ``KEPT_BYTES`` of earlier ones for the
    windows and queries that follow.

    Attributes:
        warnings: What is known of each page that was handed over and has warnings, by its index.
        said: What the pixels of each page that was handed over came with.
    """

    def __init__(
        self,
        sources: Sequence[PageSource],
        watch: Watch = unwatched,
        rendered: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Prepares nothing yet; ``rendered`` is called, in any thread, with the milliseconds that a page took."""
        self._sources = sources
        self._watch = watch
        self._rendered = rendered
        self._pixels: dict[int, Future[Prepared]] = {}  # oldest first
        self.warnings: dict[int, tuple[str, ...]] = {}
        self.said: dict[int, tuple[str, ...]] = {}
        self._interrupt = Interrupt()
        self._workers = Workers(most_at_once(), "ziprerank-pages")

    def __enter__(self) -> PageFeed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._interrupt.set()  # nobody waits for the pages under way any more
        self._workers.close()
        self._pixels.clear()

    def ahead(self, pages: Iterable[int]) -> None:
        """Starts to prepare ``pages`` unless they are held already."""
        for page in pages:
            if page not in self._pixels:
                self._pixels[page] = self._workers.submit(partial(self._prepare, page))

    def pixels(self, page: int, waiting: Callable[[], None] = lambda: None) -> NDArray[np.uint8]:
        """Returns RGB [h, w, 3] uint8, and waits until it is ready.

        Args:
            page: The candidate's index.
            waiting: Called about ten times a second meanwhile; may raise to end the wait.

        Raises:
            PageError: The page cannot be prepared; the error has the candidate's index.
        """
        self.ahead([page])
        future = self._pixels[page]
        while not self._workers.wait(future, _POLL_SECONDS):
            waiting()
        try:
            pixels, warnings = self._workers.result(future)
        except PageError as error:
            raise error.at(page) from error
        self.said[page] = warnings
        for text in warnings:
            self.warn(page, text)
        return pixels

    def warn(self, page: int, text: str) -> None:
        """Adds a warning about a page, once."""
        said = self.warnings.get(page, ())
        if text not in said:
            self.warnings[page] = (*said, text)

    def bad_pages(self, pages: Sequence[int], checked: Callable[[], None]) -> dict[int, PageError]:
        """Prepares each of ``pages`` and returns the errors of those that cannot be.

        It calls ``checked`` after each, and about ten times a second while it waits for one.
        """
        found = {}
        for at, page in enumerate(pages):
            following = pages[at : at + _MOST_WORKERS]
            self.ahead(following)
            try:
                self.pixels(page, checked)
            except PageError as error:
                found[page] = error
                del self._pixels[page]
            self.release(following)
            checked()
        return found

    def release(self, needed: Iterable[int]) -> None:
        """Drops the oldest pages, but none of ``needed``, until those not needed take at most ``KEPT_BYTES``."""
        keep = set(needed)
        spare = [page for page in self._pixels if page not in keep]
        held = sum(self._bytes(page) for page in spare)
        for page in spare:
            if held <= KEPT_BYTES:
                break
            held -= self._bytes(page)
            del self._pixels[page]

    def _prepare(self, page: int) -> Prepared:
        with self._interrupt.applied(), self._watch("render", page):
            started = perf_counter()
            prepared = read_page(self._sources[page])
            self._rendered((perf_counter() - started) * 1e3)
            return prepared

    def _bytes(self, page: int) -> int:
        height, width = self._sources[page].size
        return height * width * 3
