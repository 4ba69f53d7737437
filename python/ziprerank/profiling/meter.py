"""Counts what one query took: milliseconds by stage, tokens, and steps of progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Protocol, runtime_checkable

from ziprerank.ranking import Timings, Tokens
from ziprerank.runtime.engine import WindowScores

ProgressCallback = Callable[[int, int], None]
"""Called with (steps done, steps in all) after each page encoded and each window scored, also for a page that an
earlier window or query has counted, and about ten times a second while a page is not ready. When a page is skipped
after that, the ranking begins again, and the number of steps grows. What it raises ends the ranking there and reaches
the caller. One that has a method ``counted`` (``CountedProgress``) is told pages and passes too."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a ranking is; when it begins again because a page is skipped, it counts from nought again.

    Attributes:
        pages_done: Pages that have been encoded, or found.
        pages: Pages that the model reads.
        passes_done: Passes that have been scored.
        passes: Passes in all.
    """

    pages_done: int
    pages: int
    passes_done: int
    passes: int


@runtime_checkable
class CountedProgress(Protocol):
    """A ``ProgressCallback`` that is told pages and passes too, before it is called for the same step."""

    def __call__(self, done: int, total: int, /) -> None:
        """As any ``ProgressCallback``."""

    def counted(self, now: Progress) -> None:
        """Takes how far the call is, once its passes are planned."""


class Meter:
    """Milliseconds and tokens of one query."""

    def __init__(self) -> None:
        self._started = self._ended = perf_counter()
        self._ms = dict.fromkeys(("pages", "tokenize", "vision", "rerank"), 0.0)
        self._inside = 0.0  # ms of stages inside the one under way
        self._tokens = dict.fromkeys(("text", "visual", "blank", "kept"), 0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time spent inside to stage ``name``: ``pages``, ``tokenize``, ``vision`` or ``rerank``.

        The time of a stage inside another one is its own alone.
        """
        started, outer, self._inside = perf_counter(), self._inside, 0.0
        yield
        spent = (perf_counter() - started) * 1e3
        self._ms[name] += spent - self._inside
        self._inside = outer + spent

    def count(self, scored: WindowScores) -> None:
        """Adds a window's tokens; what the engine waited for its pages inside ``rerank`` becomes ``vision``'s."""
        self._ms["vision"] += scored.encode_ms  # a GPU is handed pages and goes on by itself
        self._ms["rerank"] -= scored.encode_ms
        for name in self._tokens:
            self._tokens[name] += getattr(scored, f"{name}_tokens")

    def forget_tokens(self) -> None:
        """Counts tokens from nought again, because the ranking begins again; the time stays counted."""
        self._tokens = dict.fromkeys(self._tokens, 0)

    def stop(self) -> None:
        """Ends the total."""
        self._ended = perf_counter()

    def timings(self) -> Timings:
        """The milliseconds so far; the total is the time from when the meter was made to ``stop``."""
        return Timings(**self._ms, total=(self._ended - self._started) * 1e3)

    def tokens(self) -> Tokens:
        """The tokens so far, summed over windows."""
        return Tokens(**self._tokens)


class Steps:
    """Tells a callback how far a call is."""

    def __init__(self, progress: ProgressCallback | None, total: int, check: Callable[[], None]) -> None:
        """``check`` may raise to end the ranking, as ``progress`` may."""
        self._progress = progress
        self._check = check
        self._done = 0
        self._total = total
        self._counted = progress.counted if isinstance(progress, CountedProgress) else None
        self._now = Progress(0, 0, 0, 0)

    def begin_again(self, total: int, pages: int, passes: int) -> None:
        """Says what is to come, at first or because the ranking begins again without the pages skipped.

        Args:
            total: Steps.
            pages: Those of them that are pages.
            passes: Those of them that are passes.
        """
        self._total = self._done + total
        self._now = Progress(0, pages, 0, passes)

    def read(self, pages: int) -> None:
        """Counts so many pages more, as ``advance`` counts steps."""
        self._now = replace(self._now, pages_done=self._now.pages_done + pages)
        self.advance(pages)

    def scored(self) -> None:
        """Counts a pass more, as ``advance`` counts steps."""
        self._now = replace(self._now, passes_done=self._now.passes_done + 1)
        self.advance(1)

    def advance(self, steps: int) -> None:
        """Counts ``steps`` more and calls the callback, which may raise to end the ranking."""
        self._done += steps
        if self._counted is not None and self._now.passes:
            self._counted(self._now)
        if self._progress is not None:
            self._progress(self._done, self._total)
        self._check()
