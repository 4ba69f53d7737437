"""Decides how often each system runs, so that a comparison fits into its time limit."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from time import perf_counter
from typing import TypeVar

LEAST, MOST = 3, 9
"""Bounds on the runs of a system in one case, if time allows; 3 is the least that has a median, p20 and p80."""

_Key = TypeVar("_Key", bound=Hashable)


class Budget:
    """Divides a time limit among cases by weight; time that a case leaves over goes to the next ones."""

    def __init__(self, seconds: float, weights: Mapping[_Key, float]) -> None:
        self._ends = perf_counter() + seconds
        self._weights: dict[Hashable, float] = dict(weights.items())
        self._rate = 0.0  # least seconds of the last case per unit of weight

    def seconds(self, case: Hashable) -> float:
        """Returns the seconds that ``case`` may take from now on."""
        return self.left * self._weights[case] / sum(self._weights.values())

    @property
    def left(self) -> float:
        """Seconds until the limit, at least 0."""
        return max(0.0, self._ends - perf_counter())

    def fits(self, case: Hashable) -> bool:
        """Whether one round of ``case`` is likely to end in time, judged by the previous case."""
        return self._rate * self._weights[case] <= self.left

    def done(self, case: Hashable, least_s: float) -> None:
        """Records that ``case`` has ended; with one round only it would have taken ``least_s`` seconds."""
        self._rate = least_s / self._weights.pop(case)

    def skip(self, case: Hashable) -> None:
        """Leaves ``case`` out; its share goes to the others."""
        del self._weights[case]


def repeats(costs: Mapping[_Key, float], seconds: float, least: int = LEAST, most: int = MOST) -> dict[_Key, int]:
    """Decides how often each system runs.

    Every system runs ``least`` times if that fits, else as often as fits, but at least once.
    The remaining time goes to the fastest systems, up to ``most`` runs each.

    Args:
        costs: seconds of one run, by system.
        seconds: the time limit.
        least: runs of every system, if they fit.
        most: runs of any system.

    Returns:
        Runs by system.
    """
    everything = sum(costs.values())
    base = max(1, min(least, most, int(seconds / everything) if everything > 0 else most))
    spare = seconds - base * everything
    counts = {}
    for key in sorted(costs, key=lambda key: costs[key]):
        more = most - base if costs[key] <= 0 else max(0, min(most - base, int(spare / costs[key])))
        counts[key] = base + more
        spare -= more * costs[key]
    return {key: counts[key] for key in costs}


def rounds(counts: Mapping[_Key, int]) -> Iterator[list[_Key]]:
    """Yields the systems of each round; those with fewer runs are spread evenly over the rounds."""
    number = max(counts.values())
    for index in range(number):
        yield [key for key, count in counts.items() if (index + 1) * count // number > index * count // number]
