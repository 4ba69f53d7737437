"""Ranks more pages than one pass takes by a pivot: top-down partitioning (Parry et al. 2024, arXiv 2405.14589).

The first pass gives a pivot. Every other pass but the last compares the pivot with pages that were not read yet; these
passes do not depend on each other, and what each says of its pages, less what it says of the pivot, is comparable. The
last pass reads the best by that measure, in the order of the list, and ranks them.

A ranking runs also the independent passes one after another. The engine takes passes of several windows at once, but
each runs on all of the engine's threads, and its window holds room in the pool; what running them side by side would
bring has not been measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ziprerank.windows import Outcome

_Scored = TypeVar("_Scored")


@dataclass(frozen=True, slots=True)
class Partition:
    """The passes over a list of more pages than one pass takes; positions are those of the list.

    Attributes:
        pages: All.
        width: Pages in the first and the last pass, at least 2; each group has one fewer, beside the pivot.
        groups: What the passes between compare with the pivot.
        left: Few pages at the end that go straight to the last pass.
        pivot: Its rank in the first pass, from 1.
    """

    pages: int
    width: int
    groups: tuple[range, ...]
    left: range
    pivot: int

    @property
    def passes(self) -> int:
        """How many there are."""
        return len(self.groups) + 2

    def fresh(self, step: int) -> range:
        """Positions that pass ``step`` is the first to read."""
        if step == 0:
            return range(self.width)
        return self.groups[step - 1] if step <= len(self.groups) else self.left

    def following(self, step: int) -> range:
        """Positions that the pass after ``step`` is the first to read; none after the last."""
        return self.fresh(step + 1) if step + 1 < self.passes else range(0)


def plan_partition(pages: int, width: int, top_k: int | None) -> Partition:
    """Plans the passes over more pages than ``width``.

    Args:
        pages: Number of candidates, more than ``width``.
        width: Pages in a pass, at least 2.
        top_k: How many pages are asked for; None is all. The last pass has room for these twice over, or half of it.
    """
    wanted = min(top_k or width, max(1, width // 2))
    spare = (width - wanted) // 2
    each = width - 1
    outside = pages - width
    left = outside % each if outside % each <= spare else 0
    groups = tuple(range(start, min(start + each, pages - left)) for start in range(width, pages - left, each))
    return Partition(pages, width, groups, range(pages - left, pages), wanted)


def run_partition(
    plan: Partition, score: Callable[[int, Sequence[int]], Sequence[_Scored]], key: Callable[[_Scored], float]
) -> Outcome[_Scored]:
    """Scores every pass by ``score(step, positions)``, and sorts by ``key``, descending, stably."""
    latest: dict[int, _Scored] = {}
    passes: dict[int, tuple[int, ...]] = {}
    margins: dict[int, float] = {}

    def compare(step: int, places: Sequence[int]) -> None:
        latest.update(zip(places, score(step, places), strict=True))
        for place in places:
            passes[place] = (*passes.get(place, ()), step)

    first = list(range(plan.width))
    compare(0, first)
    pivot = sorted(first, key=lambda place: -key(latest[place]))[plan.pivot - 1]
    margins.update((place, key(latest[place]) - key(latest[pivot])) for place in first)
    for step, group in enumerate(plan.groups, start=1):
        compare(step, [pivot, *group])
        margins.update((place, key(latest[place]) - key(latest[pivot])) for place in group)
    order = sorted(margins, key=lambda place: -margins[place])
    room = plan.width - len(plan.left)
    last = [*sorted(order[:room]), *plan.left]
    compare(plan.passes - 1, last)
    return Outcome((*sorted(last, key=lambda place: -key(latest[place])), *order[room:]), latest, passes)
