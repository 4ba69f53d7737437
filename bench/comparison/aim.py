"""A number that a measurement should reach."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Aim:
    """A bound, and the number measured against it.

    Attributes:
        what: the quantity in words.
        bound: the least that ``reached`` should be, or the most where ``ceiling`` is set.
        reached: None if a row that it is computed from is missing.
        of: the rows that it is computed from, in words.
        ceiling: whether ``bound`` is an upper bound.
    """

    what: str
    bound: float
    reached: float | None
    of: str = ""
    ceiling: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the bound is kept; None if nothing was measured."""
        if self.reached is None:
            return None
        return self.reached <= self.bound if self.ceiling else self.reached >= self.bound
