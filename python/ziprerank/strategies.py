"""How more pages than one pass takes are ranked: the paper's windows, or by a pivot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias, TypeVar

from ziprerank.bundle import Defaults
from ziprerank.errors import InvalidInput, quoted
from ziprerank.partition import Partition, plan_partition, run_partition
from ziprerank.windows import Outcome, Plan, WindowOption, plan_windows, run_windows

StrategyOption: TypeAlias = Literal["auto", "windows", "partition"]
Strategy: TypeAlias = Literal["windows", "partition"]
AnyPlan: TypeAlias = Plan | Partition
STRATEGY = (
    "How more pages than one pass takes are ranked: windows slide from the end to the front, partition compares groups "
    "with one page of the first pass, and auto is partition where at most half a pass of pages is asked for and it "
    "takes fewer passes."
)
_Scored = TypeVar("_Scored")


def plan_passes(
    pages: int,
    strategy: StrategyOption,
    window: WindowOption,
    stride: int | None,
    top_k: int | None,
    defaults: Defaults,
) -> AnyPlan:
    """Plans the passes over ``pages`` candidates.

    Args:
        pages: Number of candidates.
        strategy: ``"windows"``, ``"partition"`` or ``"auto"``, which is partition where at most half a window of pages
            is asked for, no stride is given, and it takes fewer passes.
        window: As for ``plan_windows``.
        stride: As for ``plan_windows``.
        top_k: How many pages are asked for; None is all.
        defaults: The bundle's.

    Raises:
        InvalidInput: As ``plan_windows``; an unknown strategy; a stride beside ``"partition"``, which has none;
            partition where each page is scored by itself.
    """
    check_strategy(strategy)
    if strategy == "partition" and stride is not None:
        raise InvalidInput(f"stride {quoted(stride)}: only windows have a stride, so leave it out, or use windows")
    if strategy == "partition" and defaults.pointwise:
        raise InvalidInput("strategy 'partition': this bundle scores each page by itself, there is nothing to compare")
    windows = plan_windows(pages, window, stride, defaults)
    if windows.pointwise or pages <= windows.width or strategy == "windows":
        return windows
    partition = plan_partition(pages, windows.width, top_k)
    if strategy == "partition":
        return partition
    few = top_k is not None and top_k <= windows.width // 2
    return partition if few and stride is None and partition.passes < windows.passes else windows


def check_strategy(strategy: str) -> None:
    """Raises InvalidInput unless ``strategy`` is one of ``StrategyOption``."""
    if strategy not in ("auto", "windows", "partition"):
        raise InvalidInput(f"strategy {quoted(strategy)}: must be 'auto', 'windows' or 'partition'")


def strategy_of(plan: AnyPlan) -> Strategy:
    """Returns the name of a plan's strategy; one pass is a window."""
    return "partition" if isinstance(plan, Partition) else "windows"


def run_passes(
    plan: AnyPlan, score: Callable[[int, Sequence[int]], Sequence[_Scored]], key: Callable[[_Scored], float]
) -> Outcome[_Scored]:
    """Scores every pass by ``score(step, positions)`` and sorts by ``key``, descending, stably."""
    return run_partition(plan, score, key) if isinstance(plan, Partition) else run_windows(plan, score, key)
