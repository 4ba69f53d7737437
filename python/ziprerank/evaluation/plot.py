"""The picture of quality against latency."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from ziprerank.evaluation.report import Report

MEASURE = "recall@1"
CAPTION = "Quality against latency; one system's keep ratios are joined by a line"


def draw(report: Report, file: Path) -> None:
    """Draws recall@1 against seconds a query, a point a system; what has no latency is a horizontal line."""
    average = "macro" if report["format"] == "mmdocir" else "micro"
    figure, axis = plt.subplots(figsize=(9, 5), layout="constrained")
    points: dict[str, list[tuple[float, float, str]]] = {}
    for system in report["systems"]:
        quality = system[average][MEASURE]
        if "ms" not in system:
            axis.axhline(quality, linestyle="--", linewidth=1, color="0.6", label=system["name"])
            continue
        family = system["name"].partition("-keep-")[0]
        points.setdefault(family, []).append((system["ms"]["total"]["mean"] / 1e3, quality, system["name"]))
    for number, (family, held) in enumerate(points.items()):
        held.sort()
        seconds, qualities, names = zip(*held, strict=True)
        axis.plot(seconds, qualities, "o-", color=f"C{number}", label=family)
        for x, y, name in zip(seconds, qualities, names, strict=True):
            short = name.partition("-keep-")[2] or name
            axis.annotate(short, (x, y), textcoords="offset points", xytext=(6, 6), fontsize=8)
    axis.set(xscale="log", ylim=(0, 1), xlabel="seconds a query, mean", ylabel=f"{MEASURE}, {average}")
    axis.xaxis.set_major_formatter(lambda seconds, _: f"{seconds:g}")
    axis.xaxis.set_minor_formatter(lambda seconds, _: f"{seconds:g}")
    axis.tick_params(axis="x", which="both", labelsize=8)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.savefig(file, dpi=120)
    plt.close(figure)
