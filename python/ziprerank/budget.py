"""Chooses candidates and keep ratio so that the estimate of a ranking fits a budget of milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ziprerank.errors import InvalidInput, quoted
from ziprerank.ranking import BudgetChoice
from ziprerank.values import real_number

CANDIDATES = (15, 10, 7, 5, 3)  # fewer than what is usual
# of all visual tokens; down to here the model in the box loses nothing (docs/benchmarks.md)
KEEP_RATIOS = (0.75, 0.5, 0.35, 0.25)
LAST_RATIOS = (0.15, 0.1)
BUDGET = (
    "Milliseconds that a ranking should take by an estimate from measured rates: lowers keep ratio and candidates "
    "where these are not given, and says what was chosen. It is no deadline."
)
_Planned = TypeVar("_Planned")


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget, and what may be chosen to keep it.

    Attributes:
        ms: Milliseconds.
        candidates: How many candidates there may be, the most first; one number where the caller gave it.
        keep_ratios: The same of keep ratios.
    """

    ms: float
    candidates: tuple[int, ...]
    keep_ratios: tuple[float, ...]

    def choices(self) -> Iterator[tuple[int, float]]:
        """Yields (candidates, keep ratio), the best first and the cheapest last.

        The keep ratio falls first, down to 0.25, with all candidates; then there are fewer candidates; and only with
        the fewest of them the keep ratio falls below.
        """
        usual = [ratio for ratio in self.keep_ratios if ratio not in LAST_RATIOS] or list(self.keep_ratios[:1])
        for candidates in self.candidates:
            for ratio in usual:
                yield candidates, ratio
        for ratio in self.keep_ratios:
            if ratio not in usual:
                yield self.candidates[-1], ratio


def check_budget(budget_ms: float | None) -> float | None:
    """Returns a budget as a float, or None. Raises InvalidInput unless it is a number of milliseconds over 0."""
    if budget_ms is None:
        return None
    number = real_number(budget_ms)
    if number is None or number <= 0:
        raise InvalidInput(f"budget_ms {quoted(budget_ms)}: must be milliseconds over 0, or None for no budget")
    return number


def budget_of(
    ms: float, candidates: int, keep_ratio: float, top_k: int | None, *, fixed_candidates: bool, fixed_ratio: bool
) -> Budget:
    """Returns a budget with what may be chosen: nothing above the usual values, and no fewer candidates than ``top_k``.

    Args:
        ms: Milliseconds.
        candidates: As the caller gave them, or as usual.
        keep_ratio: The same.
        top_k: How many pages are asked for, so that each of them has been read; None is all.
        fixed_candidates: Whether the caller gave the candidates.
        fixed_ratio: Whether the caller gave the keep ratio.
    """
    fewer: Sequence[int] = () if fixed_candidates else CANDIDATES
    lower: Sequence[float] = () if fixed_ratio else (*KEEP_RATIOS, *LAST_RATIOS)
    least = min(top_k or 1, candidates)
    return Budget(
        ms,
        (candidates, *(one for one in fewer if least <= one < candidates)),
        (keep_ratio, *(one for one in lower if one < keep_ratio)),
    )


def within_budget(
    budget: Budget, plan: Callable[[int], _Planned], takes: Callable[[_Planned, float], float]
) -> tuple[_Planned, BudgetChoice]:
    """Returns the first choice whose estimate fits, or the cheapest, which then says that it is over the budget.

    Args:
        budget: The budget.
        plan: Plans a ranking with so many candidates.
        takes: Estimates the milliseconds of a plan at a keep ratio.
    """
    plans: dict[int, _Planned] = {}
    found: list[tuple[float, int, float]] = []
    for candidates, ratio in budget.choices():
        if candidates not in plans:
            plans[candidates] = plan(candidates)
        ms = takes(plans[candidates], ratio)
        found.append((ms, candidates, ratio))
        if ms <= budget.ms:
            break
    else:
        found = [min(found, key=lambda one: one[0])]
    ms, candidates, ratio = found[-1]
    return plans[candidates], BudgetChoice(budget.ms, candidates, ratio, ms)
