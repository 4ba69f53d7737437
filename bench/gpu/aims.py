"""What a run is meant to reach, and what its rows say to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]

FIRST, CACHED = "first", "cached"  # what is known of the pages: see systems.py


@dataclass(frozen=True, slots=True)
class Aim:
    """``reached`` is None where a row that it needs is missing; ``at_least`` False: at most ``bound``."""

    what: str
    bound: float
    at_least: bool
    reached: float | None

    @property
    def met(self) -> bool | None:
        if self.reached is None:
            return None
        return self.reached >= self.bound if self.at_least else self.reached <= self.bound

    def row(self) -> Row:
        bound = {"at_least": self.bound} if self.at_least else {"at_most": self.bound}
        return {"what": "aim", "aim": self.what, **bound, "reached": self.reached, "met": self.met}

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        said = {None: "not measured", True: "met", False: "NOT MET"}[self.met]
        reached = "-" if self.reached is None else f"{self.reached:.2f}"
        return f"{self.what:<72} {sign} {self.bound:<5} {reached:>7}  {said}"


def aims(rows: Sequence[Row], provider: str, precision: str) -> list[Aim]:
    """At the most pages that were measured."""
    kernels = [row for row in rows if row["what"] == "prune kernels" and row["dtype"] == precision]
    measured = [row for row in rows if row["what"] == "latency"]

    def most(chosen: Sequence[Row]) -> int:
        return max((row["pages"] for row in chosen), default=0)

    def latency(system: str, keep_ratio: float, start: str) -> Row | None:
        """transformers is run beside every provider: the rows that were interleaved with this one."""
        return next(
            (
                row
                for row in measured
                if (row["system"], row["provider"], row["keep_ratio"], row["start"], row["pages"])
                == (system, provider, keep_ratio, start, pages)
            ),
            None,
        )

    def quotient(over: Row | None, under: Row | None, read: Callable[[Row], float | None]) -> float | None:
        above, below = (None if row is None else read(row) for row in (over, under))
        return None if above is None or below is None else above / below

    pages = most([row for row in measured if row["provider"] == provider])
    kernel = next((row for row in kernels if row["pages"] == most(kernels)), None)
    whole, half = (latency("ziprerank", keep_ratio, CACHED) for keep_ratio in (1.0, 0.5))

    def over_floor(row: Row | None) -> float | None:
        floor = row and row["floor_ms"].get("decoder")
        return row["stages_ms"]["decoder"]["p50"] / floor if row is not None and floor else None

    def total(row: Row) -> float:
        return float(row["total_ms"]["p50"])

    def decoder(row: Row) -> float:
        return float(row["stages_ms"]["decoder"]["p50"])

    found = [
        Aim(
            f"prune launches together by a copy of equal bytes, {most(kernels)} pages",
            1.25,
            False,
            None if kernel is None else kernel["over_copy"],
        ),
        Aim(f"decoder at keep 1 by keep 0.5, {pages} pages", 2.0, True, quotient(whole, half, decoder)),
        *(
            Aim(f"decoder at keep {row_ratio} by its floor, {pages} pages", 1.3, False, over_floor(row))
            for row_ratio, row in ((1, whole), (0.5, half))
        ),
    ]
    for start, bound, name in ((FIRST, 2.0, "first query"), (CACHED, 3.0, "cached pages")):
        theirs, ours = latency("transformers", 0.5, start), latency("ziprerank", 0.5, start)
        what = f"transformers with pruning by ziprerank at keep 0.5, {name}, {pages} pages"
        found.append(Aim(what, bound, True, quotient(theirs, ours, total)))
    return found
