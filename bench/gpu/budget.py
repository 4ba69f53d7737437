"""Decides which sections fit into a run's time limit, and writes rows for those that were not run."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

Row = dict[str, Any]


class Budget:
    """A time limit that starts now.

    Sections of one kind are assumed to cost in proportion to their weight.
    The first section of a kind runs while time is left; later ones run if the cost of the last one says that they fit.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._rates: dict[Hashable, float] = {}

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the clock, for set-up."""
        started = time.monotonic()
        yield
        self._end += time.monotonic() - started

    @property
    def left(self) -> float:
        """Seconds until the limit; negative after it."""
        return self._end - time.monotonic()

    def fits(self, kind: Hashable, weight: float) -> bool:
        """Whether a section is expected to end in time."""
        return self.left > self._rates.get(kind, 0.0) * weight

    def spent(self, kind: Hashable, weight: float, seconds: float) -> None:
        """Records the least seconds that a section of this kind and weight takes."""
        self._rates[kind] = seconds / weight


def not_run(section: str, error: BaseException) -> Row:
    """Returns the row of a section that raised ``error``."""
    return {"what": "not run", "section": section, "reason": f"{type(error).__name__}: {' '.join(str(error).split())}"}


def left_out(section: str, budget: Budget) -> Row:
    """Returns the row of a section that does not fit into the budget."""
    return {
        "what": "not run",
        "section": section,
        "reason": f"does not fit into the {max(0.0, budget.left):.0f} s left: raise --seconds",
    }
