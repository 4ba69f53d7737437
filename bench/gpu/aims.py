"""The aims of a run on a GPU, and what its rows reach."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ziprerank.comparison.aim import Aim

Row = dict[str, Any]

FIRST, CACHED = "first", "cached"  # whether the pages are new or in memory: see systems.py


def aim_row(aim: Aim) -> Row:
    """An aim as a results row."""
    bound = {"at_most": aim.bound} if aim.ceiling else {"at_least": aim.bound}
    return {"what": "aim", "aim": aim.what, **bound, "reached": aim.reached, "met": aim.met}


def aim_heading() -> str:
    """What stands above the lines of `aim_line`."""
    return f"{'aim':<72} {'bound':>8} {'predicted':>9} {'measured':>9}"


def aim_line(aim: Aim, predicted: float | None) -> str:
    """An aim as a line of the closing table, with what the counts predict for it."""
    sign = "<=" if aim.ceiling else ">="
    said = {None: "not measured", True: "met", False: "NOT MET"}[aim.met]
    told, reached = ("-" if value is None else f"{value:.2f}" for value in (predicted, aim.reached))
    return f"{aim.what:<72} {sign} {aim.bound:<5} {told:>9} {reached:>9}  {said}"


def aims(rows: Sequence[Row], provider: str, precision: str) -> list[Aim]:
    """Returns the aims of one provider and precision, at the largest number of pages measured."""
    kernels = [row for row in rows if row["what"] == "prune kernels" and row["dtype"] == precision]
    measured = [row for row in rows if row["what"] == "latency"]

    def most(chosen: Sequence[Row]) -> int:
        return max((row["pages"] for row in chosen), default=0)

    def latency(system: str, keep_ratio: float, start: str) -> Row | None:
        """Returns a row measured with this provider; transformers is measured again beside each provider."""
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
            None if kernel is None else kernel["over_copy"],
            ceiling=True,
        ),
        Aim(f"decoder at keep 1 by keep 0.5, {pages} pages", 2.0, quotient(whole, half, decoder)),
        *(
            Aim(f"decoder at keep {row_ratio} by its floor, {pages} pages", 1.3, over_floor(row), ceiling=True)
            for row_ratio, row in ((1, whole), (0.5, half))
        ),
    ]
    for start, bound, name in ((FIRST, 2.0, "first query"), (CACHED, 3.0, "cached pages")):
        theirs, ours = latency("transformers", 0.5, start), latency("ziprerank", 0.5, start)
        what = f"transformers with pruning by ziprerank at keep 0.5, {name}, {pages} pages"
        found.append(Aim(what, bound, quotient(theirs, ours, total)))
    return found
