"""How often each system is run, so that a whole comparison fits into the time that it may take."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from time import perf_counter
from typing import TypeVar

LEAST, MOST = 3, 9
"""Runs of a system in one case, where the time allows it: 3 is the least that has a median, p20 and p80."""

_Key = TypeVar("_Key", bound=Hashable)


class Budget:
    """Seconds for several cases, of which each gets its part by weight; what one leaves over goes to the next ones."""

    def __init__(self, seconds: float, weights: Mapping[_Key, float]) -> None:
        self._ends = perf_counter() + seconds
        self._weights: dict[Hashable, float] = dict(weights.items())
        self._rate = 0.0  # seconds that the last case needed at the least, for a weight of 1

    def seconds(self, case: Hashable) -> float:
        """What ``case`` may take, counted from now."""
        return self.left * self._weights[case] / sum(self._weights.values())

    @property
    def left(self) -> float:
        return max(0.0, self._ends - perf_counter())

    def fits(self, case: Hashable) -> bool:
        """Whether one run of everything is likely to end in time, going by the case before."""
        return self._rate * self._weights[case] <= self.left

    def done(self, case: Hashable, least_s: float) -> None:
        """``least_s``: seconds that the case took, with one round only."""
        self._rate = least_s / self._weights.pop(case)

    def skip(self, case: Hashable) -> None:
        """The others get its part."""
        del self._weights[case]


def repeats(costs: Mapping[_Key, float], seconds: float, least: int = LEAST, most: int = MOST) -> dict[_Key, int]:
    """Runs of each system, ``costs`` being the seconds of one: ``least`` of all where they fit (else as many as fit,
    1 at any rate), and what is left goes to the quickest, up to ``most``."""
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
    """Interleaved: the systems of each round, those with fewer runs spread evenly over the rounds."""
    number = max(counts.values())
    for index in range(number):
        yield [key for key, count in counts.items() if (index + 1) * count // number > index * count // number]
