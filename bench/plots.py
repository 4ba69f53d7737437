"""Pictures and one self-contained page of the rows that ``python -m bench`` wrote. Needs matplotlib.

    python -m bench.plots ROWS.jsonl DIRECTORY

Writes, for each page size, ``latency-288.png`` (against candidates) and ``stages-288.png`` (stacked, at the most
candidates), and ``benchmark.html`` with all of them and the tables in it.
"""

from __future__ import annotations

import argparse
import base64
import html
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from .cases import STARTS
from .comparison import STAGES, START_NAMES, Rows, page_sizes, tables
from .ratios import label

STYLE = "body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}"
STYLE += "table{border-collapse:collapse}td,th{padding:.2rem .7rem;border-bottom:1px solid #ddd;text-align:left}"
STYLE += "img{max-width:100%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.rows.read_text(encoding="utf-8").splitlines()]
    options.out.mkdir(parents=True, exist_ok=True)
    pictures = []
    for side in page_sizes(rows):
        for name, draw in (("latency", draw_latency), ("stages", draw_stages)):
            picture = options.out / f"{name}-{side}.png"
            figure = draw(rows, side)
            figure.savefig(picture, dpi=120)
            plt.close(figure)
            pictures.append(picture)
    (options.out / "benchmark.html").write_text(page(tables(rows), pictures), encoding="utf-8")


def draw_latency(rows: Rows, side: int) -> Figure:
    """Milliseconds against candidates, both logarithmic, with p20 to p80 shaded."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 6), sharey=True, layout="constrained")
    for axis, start in zip(axes, STARTS, strict=True):
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
    """Stages stacked, at the most candidates, from the file."""
    systems = _by_system(rows, side, STARTS[0])
    most = max(row["candidates"] for points in systems.values() for row in points)
    bars = {name: points[-1]["stages_ms"] for name, points in systems.items()}
    figure, axis = plt.subplots(figsize=(10, 5), layout="constrained")
    left = dict.fromkeys(bars, 0.0)
    for stage in STAGES:
        widths = [times[stage]["p50"] if stage in times else 0.0 for times in bars.values()]
        axis.barh(list(bars), widths, left=list(left.values()), label=stage)
        left = {name: start + width for (name, start), width in zip(left.items(), widths, strict=True)}
    axis.invert_yaxis()
    axis.set(xlabel=f"ms, {most} pages of {side} px, {START_NAMES[STARTS[0]]}")
    axis.legend()
    return figure


def page(markdown: str, pictures: list[Path]) -> str:
    """HTML that needs no other file."""
    images = "".join(
        f'<img alt="{picture.stem}" src="data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}">'
        for picture in pictures
    )
    title = "ziprerank: measured"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
        f"<h1>{title}</h1>{images}{_html(markdown)}</html>\n"
    )


def _html(markdown: str) -> str:
    """Of our own tables: paragraphs with bold starts, and pipe tables."""
    out = []
    for block in markdown.split("\n\n"):
        lines = [html.escape(line) for line in block.splitlines()]
        if not block.startswith("|"):
            first, second = "<b>", "</b>"
            text = " ".join(lines)
            out.append(f"<p>{text.replace('**', first, 1).replace('**', second, 1)}</p>")
            continue
        cells = [line.strip("| ").split(" | ") for line in lines if not line.startswith("|---")]
        head, *body = ["".join(f"<td>{cell}</td>" for cell in row) for row in cells]
        rows = "".join(f"<tr>{row}</tr>" for row in body)
        out.append(f"<table><tr>{head.replace('td>', 'th>')}</tr>{rows}</table>")
    return "".join(out)


def _by_system(rows: Rows, side: int, start: str) -> dict[str, list[dict[str, Any]]]:
    """Latency rows by system, in the order of candidates."""
    systems: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["what"] == "latency" and row["longest_side"] == side and row["start"] == start:
            systems.setdefault(label(row), []).append(row)
    return {name: sorted(points, key=lambda row: row["candidates"]) for name, points in systems.items()}


if __name__ == "__main__":
    main()
