"""The speed aims of the comparison at 20 pages, and what the rows of a run reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .aim import Aim
from .cases import AGAIN, FILE, OURS, OURS_POINTWISE
from .labels import START_NAMES, label, page_sizes

PAGES, FEWER, KEEP_RATIO = 20, 5, 0.5
AGAINST = (  # system, reasoning tokens, least slowdown on the first query, least slowdown on the next query
    ("transformers_pruned", 0, 4.0, 10.0),
    ("autoregressive", 0, 15.0, 15.0),
    ("autoregressive", 256, 40.0, 40.0),
    ("pointwise", 0, 3.0, 3.0),
)
PAGE_BY_PAGE = {FILE: 3.0, AGAIN: 10.0}  # of ziprerank page by page, against the pointwise system
DECODER, PRUNING, GROWTH = 1.8, 0.03, 4.3

Row = dict[str, Any]
Rows = Sequence[Row]


def table(rows: Rows) -> str:
    """Writes the aims as a Markdown table, or one sentence if the rows hold no case of 20 pages."""
    found = list(aims(rows))
    if not found:
        return f"**Aims.** They are for {PAGES} pages, which this run did not measure."
    side = page_sizes(rows)[0]
    lines = [
        f"**Aims, {PAGES} pages of {side} px.**",
        "All numbers are computed from medians (`p50`) of this run's rows.",
        "",
        "| | aim | reached | | computed from |",
        "|---|---|---|---|---|",
    ]
    for aim in found:
        sign = "at most" if aim.ceiling else "at least"
        bound, reached = (_number(aim, value) for value in (aim.bound, aim.reached))
        lines.append(f"| {aim.what} | {sign} {bound} | {reached} | {'met' if aim.met else 'not met'} | {aim.of} |")
    return "\n".join(lines)


def aims(rows: Rows) -> Iterator[Aim]:
    """Yields every aim of the first page size; none if it was not measured with 20 pages."""
    sizes = page_sizes(rows)
    latencies = [row for row in rows if row["what"] == "latency" and row["longest_side"] == (sizes or [0])[0]]
    if PAGES not in {row["candidates"] for row in latencies}:
        return
    ours = _ours(rows)

    def one(
        pages: int,
        start: str,
        system: str = OURS,
        keep: float = KEEP_RATIO,
        reasoning: int = 0,
        blank: str = ours["blank"],
    ) -> Row:
        key = (pages, start, system, keep, reasoning)
        (row,) = (
            row
            for row in latencies
            if key == (row["candidates"], row["start"], row["system"], row["keep_ratio"], row["reasoning_tokens"])
            and (system != OURS or (row["precision"], row["blank"]) == (ours["precision"], blank))
        )
        return row

    yield from _against(one)
    yield from _page_by_page(latencies)
    full, half = one(PAGES, AGAIN, keep=1.0, blank="keep"), one(PAGES, AGAIN, blank="keep")
    yield Aim(
        "ziprerank's pass (prune, decoder) at keep 0.5, times faster than at 1",
        DECODER,
        _pass_ms(full) / _pass_ms(half),
        f"`stages_ms` prune + decoder, {AGAIN}: {label(full)} / {label(half)}",
    )
    shares = [
        row["share_of_pass"]
        for row in rows
        if row["what"] == "limit"
        and (row["stage"], row["candidates"], row["longest_side"]) == ("prune", PAGES, sizes[0])
        and (row["keep_ratio"], row["precision"], row["blank"]) == (KEEP_RATIO, ours["precision"], ours["blank"])
    ]
    for share in shares:  # empty on a GPU, where ONNX Runtime's profile does not time the operator
        of = f"`share_of_pass` of the limit row prune, keep {KEEP_RATIO:g}"
        yield Aim("pruning operator's share of the pass", PRUNING, share, of, ceiling=True)
    if FEWER in {row["candidates"] for row in latencies}:
        for start in (FILE, AGAIN):
            more, fewer = one(PAGES, start), one(FEWER, start)
            of = f"`total_ms`, {start}, {label(more)}: {PAGES} / {FEWER} candidates"
            what = f"growth from {FEWER} to {PAGES} candidates, {START_NAMES[start]}"
            yield Aim(what, GROWTH, _ms(more) / _ms(fewer), of, ceiling=True)


def ours_label(rows: Rows) -> str:
    """Label of the rows that the others are compared with: ziprerank's first bundle at keep ratio 0.5."""
    return label(_ours(rows) | {"keep_ratio": KEEP_RATIO})


def _against(one: Callable[..., Row]) -> Iterator[Aim]:
    for system, reasoning, first, cached in AGAINST:
        keep = KEEP_RATIO if system == "transformers_pruned" else 1.0
        for start, bound in ((FILE, first), (AGAIN, cached)):
            theirs, ours = one(PAGES, start, system, keep, reasoning), one(PAGES, start)
            of = f"`total_ms`, {start}: {label(theirs)} / {label(ours)}"
            yield Aim(f"against {label(theirs)}, {START_NAMES[start]}", bound, _ms(theirs) / _ms(ours), of)


def _page_by_page(latencies: Rows) -> Iterator[Aim]:
    """Yields the aims of ziprerank's first bundle that scores each page by itself; none if there was none."""
    chosen = [row for row in latencies if row["candidates"] == PAGES]
    ours = [row for row in chosen if row["system"] == OURS_POINTWISE]
    for mine in ours:
        if mine["precision"] != ours[0]["precision"]:
            continue
        start = mine["start"]
        (theirs,) = (row for row in chosen if (row["system"], row["start"]) == ("pointwise", start))
        of = f"`total_ms`, {start}: {label(theirs)} / {label(mine)}"
        what = f"{label(mine)} against pointwise, {START_NAMES[start]}"
        yield Aim(what, PAGE_BY_PAGE[start], _ms(theirs) / _ms(mine), of)


def _ours(rows: Rows) -> Row:
    """Returns ziprerank's first latency row."""
    return next(row for row in rows if row["what"] == "latency" and row["system"] == OURS)


def _ms(row: Row) -> float:
    return float(row["total_ms"]["p50"])


def _pass_ms(row: Row) -> float:
    return sum(float(row["stages_ms"][stage]["p50"]) for stage in ("prune", "decoder") if stage in row["stages_ms"])


def _number(aim: Aim, value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value * 100:.2g} %" if aim.bound == PRUNING else f"{value:.1f}x"
