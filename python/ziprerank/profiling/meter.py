"""Counts what one query took: milliseconds by stage, tokens, and steps of progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from ziprerank.ranking import Timings, Tokens
from ziprerank.runtime.engine import WindowScores

ProgressCallback = Callable[["StepCount", "StepCount"], None]
"""Called with (steps done, steps in all) after each page encoded and each window scored, also for a page that an
earlier window or query has counted, and about ten times a second while a page or its text is not ready. A first stage
by relevance encodes each page once for all queries, and its pages are steps beside those that the passes read. When a
page is skipped after that, the ranking begins again, and the number of steps grows. What it raises ends the ranking
there and reaches the caller. Both numbers are ``StepCount``s."""


class StepCount(int):
    """A number of steps, which are pages encoded and passes scored.

    Attributes:
        pages: How many of them are pages.
        passes: How many are passes.
    """

    pages: int
    passes: int

    def __new__(cls, pages: int, passes: int) -> StepCount:
        count = super().__new__(cls, pages + passes)
        count.pages, count.passes = pages, passes
        return count

    def and_then(self, other: StepCount) -> StepCount:
        """Returns the steps of both."""
        return StepCount(self.pages + other.pages, self.passes + other.passes)

    def times(self, count: int) -> StepCount:
        """Returns so many times these steps."""
        return StepCount(self.pages * count, self.passes * count)


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

    def spent(self, stage: str) -> float:
        """The milliseconds of a stage so far."""
        return self._ms[stage]

    def elapsed(self) -> float:
        """The milliseconds since the meter was made."""
        return (perf_counter() - self._started) * 1e3

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

    def __init__(self, progress: ProgressCallback | None, total: StepCount, check: Callable[[], None]) -> None:
        """``check`` may raise to end the ranking, as ``progress`` may."""
        self._progress = progress
        self._check = check
        self._done = StepCount(0, 0)
        self._total = total

    def begin_again(self, total: StepCount) -> None:
        """Says that ``total`` steps are still to come, because the ranking begins again without the pages skipped."""
        self._total = self._done.and_then(total)

    def advance(self, pages: int = 0, passes: int = 0) -> None:
        """Counts so many steps more and calls the callback, which may raise to end the ranking."""
        self._done = self._done.and_then(StepCount(pages, passes))
        if self._progress is not None:
            self._progress(self._done, self._total)
        self._check()
