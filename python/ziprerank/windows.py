"""Ranks more pages than one pass takes: RankGPT's sliding windows, from the end of the candidate list to its start.

Each window's order is written back before the next one, so that a good page bubbles up to the front.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from ziprerank.bundle import Defaults
from ziprerank.errors import InvalidInput, quoted
from ziprerank.values import whole_number

MAX_WINDOW = 20  # the letters A..T

WindowOption = int | Literal["auto", "off"]
_Scored = TypeVar("_Scored")


@dataclass(frozen=True, slots=True)
class Plan:
    """The windows over a list of pages: window i covers positions ``starts[i]`` to ``starts[i] + width - 1``.

    With ``pointwise`` each page is a window, and their scores are comparable.
    """

    pages: int
    width: int
    starts: tuple[int, ...]
    pointwise: bool = False

    @property
    def passes(self) -> int:
        """How many windows there are."""
        return len(self.starts)

    def fresh(self, step: int) -> range:
        """Positions that window ``step`` is the first to cover; no earlier window has reordered them."""
        end = self.starts[step] + self.width if step == 0 else self.starts[step - 1]
        return range(self.starts[step], end)

    def following(self, step: int) -> range:
        """Positions that the window after ``step`` is the first to cover; none after the last window."""
        return self.fresh(step + 1) if step + 1 < len(self.starts) else range(0)


def plan_windows(pages: int, window: WindowOption, stride: int | None, defaults: Defaults) -> Plan:
    """Plans ``ceil((pages - window) / stride) + 1`` windows; the last one starts at 0 with full width.

    Args:
        pages: Number of candidates.
        window: Pages in a pass, at most ``MAX_WINDOW``; ``"auto"`` is the bundle's, ``"off"`` insists on one pass.
        stride: Pages by which a window moves, at least 1 and less than the window; None is the bundle's, or half the
            window where the bundle's does not fit it.
        defaults: The bundle's.

    Raises:
        InvalidInput: A value out of its bounds, more pages than one pass takes with ``"off"``, or a window where pages
            are scored one by one.
    """
    if defaults.pointwise:
        for name, value in (("window", None if window == "auto" else window), ("stride", stride)):
            if value is not None:
                raise InvalidInput(
                    f"{name} {quoted(value)}: this bundle scores each page by itself, there is no window: leave it out"
                )
        return Plan(pages, 1, tuple(range(pages - 1, -1, -1)), pointwise=True)
    width = _width(pages, window, defaults)
    step = _stride(width, stride, defaults)
    if pages <= width:
        return Plan(pages, pages, (0,))
    if width < 2:
        raise InvalidInput(f"window 1 cannot compare {pages} pages: use window=2..{MAX_WINDOW}")
    starts = [*range(pages - width, 0, -step), 0]
    return Plan(pages, width, tuple(starts))


def run_windows(
    plan: Plan, score: Callable[[int, Sequence[int]], Sequence[_Scored]], key: Callable[[_Scored], float]
) -> Outcome[_Scored]:
    """Scores every window by ``score(step, page indices)`` and sorts it by ``key``, descending, stably.

    A pointwise plan is sorted as a whole.
    """
    order = list(range(plan.pages))
    latest: dict[int, _Scored] = {}
    passes: dict[int, tuple[int, ...]] = {}
    for step, start in enumerate(plan.starts):
        window = order[start : start + plan.width]
        latest.update(zip(window, score(step, window), strict=True))
        for page in window:
            passes[page] = (*passes.get(page, ()), step)
        order[start : start + plan.width] = sorted(window, key=lambda page: -key(latest[page]))
    if plan.pointwise:
        order.sort(key=lambda page: -key(latest[page]))
    return Outcome(tuple(order), latest, passes)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[_Scored]):
    """What the passes over some pages said.

    Attributes:
        order: The final permutation of the pages.
        latest: What the last pass with a page said of it.
        passes: The passes that held a page, by their numbers from 0.
    """

    order: tuple[int, ...]
    latest: dict[int, _Scored]
    passes: dict[int, tuple[int, ...]]


def pass_width(window: WindowOption, defaults: Defaults) -> int:
    """Returns the most pages of a pass with this option. Raises InvalidInput."""
    return MAX_WINDOW if window == "off" else _width(0, window, defaults)


def _width(pages: int, window: WindowOption, defaults: Defaults) -> int:
    if window == "off":
        if pages > MAX_WINDOW:
            raise InvalidInput(f"{pages} pages, at most {MAX_WINDOW} in one pass: use window=1..{MAX_WINDOW} or split")
        return pages
    if window == "auto":
        return defaults.window
    number = whole_number(window)
    if number is None:
        raise InvalidInput(f"window {quoted(window)}: must be 1..{MAX_WINDOW}, 'auto' or 'off'")
    if not 1 <= number <= MAX_WINDOW:
        raise InvalidInput(f"window {number}: must be 1..{MAX_WINDOW} (a letter for each page), 'auto' or 'off'")
    return number


def _stride(width: int, stride: int | None, defaults: Defaults) -> int:
    if stride is None:
        return defaults.stride if defaults.stride < width else max(1, width // 2)
    number = whole_number(stride)
    if number is None:
        raise InvalidInput(f"stride {quoted(stride)}: must be a whole number")
    if number < 1 or number >= max(width, 2):
        raise InvalidInput(f"stride {number}: must be at least 1 and less than the window of {width} pages")
    return number
