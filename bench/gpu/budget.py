"""Which sections of a run fit into the time that it may take, and the rows of those that were not run."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

Row = dict[str, Any]


class Budget:
    """Seconds from now on. Sections of one kind cost in proportion to their weight; the first of a kind is always tried
    while time is left, the others where the last one of their kind says that they fit."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._rates: dict[Hashable, float] = {}

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Set-up does not count."""
        started = time.monotonic()
        yield
        self._end += time.monotonic() - started

    @property
    def left(self) -> float:
        return self._end - time.monotonic()

    def fits(self, kind: Hashable, weight: float) -> bool:
        return self.left > self._rates.get(kind, 0.0) * weight

    def spent(self, kind: Hashable, weight: float, seconds: float) -> None:
        """What a section of this kind needs at the least."""
        self._rates[kind] = seconds / weight


def not_run(section: str, error: BaseException) -> Row:
    return {"what": "not run", "section": section, "reason": f"{type(error).__name__}: {' '.join(str(error).split())}"}


def left_out(section: str, budget: Budget) -> Row:
    return {"what": "not run", "section": section, "reason": f"would not fit: {max(0.0, budget.left):.0f} s were left"}
