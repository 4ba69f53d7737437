"""Draws the rows of ``ziprerank bench`` with matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from .aims import PAGES
from .cases import OURS, STARTS
from .labels import START_NAMES, label, page_sizes
from .tables import STAGES, Row, Rows

FUSED = " + BM25"  # how the names of fused systems end, as bench/quality/fusion.py has it
_BESIDE = 4  # points from the axes to the name of a line
SAME_RANKING = (OURS, "transformers_pruned")  # their logits were checked to agree before they were timed


def draw(rows: Rows, folder: Path, quality: Rows = ()) -> list[Path]:
    """Writes all pictures of `pictures_of` to ``folder`` as PNG and returns their paths."""
    pictures = []
    for name, make in pictures_of(rows, quality).items():
        picture, figure = folder / f"{name}.png", make()
        figure.savefig(picture, dpi=120)
        plt.close(figure)
        pictures.append(picture)
    return pictures


def pictures_of(rows: Rows, quality: Rows = ()) -> dict[str, Callable[[], Figure]]:
    """Returns the functions that draw each picture, by name.

    For each page size these are, for example, ``latency-1024`` (against candidates) and ``stages-1024`` (at the most
    candidates of one pass).
    ``quality`` is drawn if 20 candidates were measured and ``quality`` has rows of the same checkpoint and page size.
    """
    sizes = page_sizes(rows)
    pictures: dict[str, Callable[[], Figure]] = {}
    for side in sizes:
        pictures[f"latency-{side}"] = partial(draw_latency, rows, side)
        pictures[f"stages-{side}"] = partial(draw_stages, rows, side)
    if points := quality_points(rows, quality, sizes[0]):
        pictures["quality"] = partial(draw_quality, points, quality)
    return pictures


def caption(name: str) -> str:
    """Returns a picture's caption by its name."""
    kind, _, side = name.partition("-")
    if kind == "quality":
        return "Quality against latency"
    what = "Latency against candidates, p20 to p80 shaded" if kind == "latency" else "Stages of a first query"
    return f"{what}, pages of {side} px"


def draw_latency(rows: Rows, side: int) -> Figure:
    """Draws milliseconds against candidates on logarithmic axes, p20 to p80 shaded."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 6), sharey=True, layout="constrained")
    for axis, start in zip(axes, STARTS, strict=True):
        axis.set_prop_cycle(color=mpl.colormaps["tab20"](range(20)))  # ten would not tell all systems apart
        for name, points in _by_system(rows, side, start).items():
            counts = [row["candidates"] for row in points]
            p20, p50, p80 = ([row["total_ms"][q] for row in points] for q in ("p20", "p50", "p80"))
            weight = 2.5 if name.startswith("ziprerank") else 1.2
            (line,) = axis.plot(counts, p50, marker="o", markersize=4, linewidth=weight, label=name)
            axis.fill_between(counts, p20, p80, color=line.get_color(), alpha=0.15)
        axis.set(xscale="log", yscale="log", xlabel="candidates", title=START_NAMES[start])
        axis.set_xticks(counts, [str(count) for count in counts])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"ms a query, pages of {side} px")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return figure


def draw_stages(rows: Rows, side: int) -> Figure:
    """Draws the stages of a first query as stacked bars, at the most candidates of one pass."""
    systems = _by_system(rows, side, STARTS[0])
    most = max(row["candidates"] for points in systems.values() for row in points if row["windows"] == 1)
    bars = {name: row["stages_ms"] for name, points in systems.items() for row in points if row["candidates"] == most}
    figure, axis = plt.subplots(figsize=(10, 1.5 + 0.35 * len(bars)), layout="constrained")
    left = dict.fromkeys(bars, 0.0)
    for stage in STAGES:
        widths = [times[stage]["p50"] if stage in times else 0.0 for times in bars.values()]
        axis.barh(list(bars), widths, left=list(left.values()), label=stage)
        left = {name: start + width for (name, start), width in zip(left.items(), widths, strict=True)}
    axis.invert_yaxis()
    axis.set(xlabel=f"ms, {most} pages of {side} px, {START_NAMES[STARTS[0]]}")
    axis.legend()
    return figure


def quality_points(rows: Rows, quality: Rows, side: int) -> list[tuple[Row, float]]:
    """Pairs latency rows at 20 candidates with the recall@1 of the rankings that they time.

    A quality row matches if it has the same checkpoint, page size, keep ratio and blank option, and ranks 20 candidates
    in one pass in float32.
    Quality rows written before blank tokens could be dropped have no ``blank``, which means "keep".
    """
    recalls = {
        (row["keep_ratio"], row.get("blank", "keep")): row["recall@1"]
        for row in quality
        if (row["document"], row["kind"], row["window"], row["longest_side"]) == ("all", "all", PAGES, side)
        and (row["system"], row["bundle"]) == ("ziprerank", rows[0]["checkpoint"])  # alone, not fused with BM25
    }
    return [
        (row, recalls[row["keep_ratio"], row["blank"]])
        for row in rows
        if row["what"] == "latency"
        and (row["candidates"], row["longest_side"], row["precision"]) == (PAGES, side, "fp32")
        and row["system"] in SAME_RANKING
        and (row["keep_ratio"], row["blank"]) in recalls
    ]


def draw_quality(points: list[tuple[Row, float]], quality: Rows) -> Figure:
    """Draws recall@1 against seconds a query; systems without a model are horizontal lines.

    As the points are of ziprerank alone, so are the lines of systems that are not fused with BM25. Their names are to
    the right of the axes, where no point is.
    """
    figure, axis = plt.subplots(figsize=(10, 5), layout="constrained")
    colours: dict[str, str] = {}
    for row, recall in points:
        ours = row["system"] == OURS
        seconds = row["total_ms"]["p50"] / 1e3
        name = f"{label(row)}, {START_NAMES[row['start']]}"
        shape = ("o" if ours else "s") if row["start"] == STARTS[0] else ("^" if ours else "v")
        colour = colours.setdefault(label(row), f"C{len(colours)}")
        axis.plot(seconds, recall, shape, markersize=9 if ours else 6, label=name, color=colour)
    names = []
    for row in quality:
        alone = row["bundle"] is None and not row["system"].endswith(FUSED)
        if alone and (row["document"], row["kind"]) == ("all", "all"):
            axis.axhline(row["recall@1"], linestyle="--", linewidth=1, color="0.6")
            at: dict[str, Any] = {"xycoords": axis.get_yaxis_transform(), "textcoords": "offset points"}
            place = (1, row["recall@1"])
            names.append(axis.annotate(row["system"], place, (_BESIDE, 0), fontsize=8, va="center", **at))
    axis.set(xscale="log", ylim=(0, 1), xlabel=f"seconds a query, {PAGES} pages", ylabel="recall@1")
    for formatted in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
        formatted(lambda seconds, _: f"{seconds:g}")
    axis.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    _set_apart(names, figure)
    return figure


def _set_apart(names: Sequence[Annotation], figure: Figure) -> None:
    """Raises names of lines that would be printed over the one below."""
    figure.draw_without_rendering()  # which lays the axes out
    free = float("-inf")  # px from below
    for name in sorted(names, key=lambda one: float(one.xy[1])):
        box = name.get_window_extent()
        raised = max(0.0, free - box.y0)
        name.xyann = (_BESIDE, raised * 72 / figure.dpi)
        free = box.y1 + raised


def _by_system(rows: Rows, side: int, start: str) -> dict[str, list[dict[str, Any]]]:
    """Groups latency rows by system, in the order of candidates."""
    systems: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["what"] == "latency" and row["longest_side"] == side and row["start"] == start:
            systems.setdefault(label(row), []).append(row)
    return {name: sorted(points, key=lambda row: row["candidates"]) for name, points in systems.items()}
