"""Bar, row and line charts with labelled axes, drawn on a reportlab canvas.

Drawn by hand rather than with reportlab's chart classes, which take about ten times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

CHARTS = ("bars", "rows", "lines")


@dataclass(frozen=True)
class Chart:
    """What a chart shows and in what hand: labels [n], one or more series of n values >= 0, sizes in points."""

    kind: str  # one of CHARTS
    labels: Sequence[str]
    series: Sequence[Sequence[float]]
    names: Sequence[str]  # of the series, for the legend
    face: str
    size: float
    ink: str  # colours as "#rrggbb"
    fills: Sequence[str]
    values: bool = False  # the number at each bar


def ceiling(value: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten that is at least ``value``: where an axis ends."""
    step = 1.0
    while step * 10 < value:
        step *= 10
    return next(step * factor for factor in (1, 2, 2.5, 5, 10) if step * factor >= value)


def _number(value: float) -> str:
    return f"{value:g}"


def draw(canvas: Any, chart: Chart, x: float, y: float, width: float, height: float) -> None:
    """Draws ``chart`` in the rectangle with lower left corner (x, y), all in points."""
    canvas.saveState()
    canvas.setLineWidth(0.6)
    canvas.setFont(chart.face, chart.size)
    legend = chart.size * 1.6 if len(chart.series) > 1 else 0.0
    if legend:
        _legend(canvas, chart, x, y + height - chart.size, width)
    highest = ceiling(max(max(values) for values in chart.series))
    if chart.kind == "rows":
        _rows(canvas, chart, highest, (x, y, width, height - legend))
    else:
        _columns(canvas, chart, highest, (x, y, width, height - legend))
    canvas.restoreState()


def _legend(canvas: Any, chart: Chart, x: float, y: float, width: float) -> None:
    step = width / len(chart.names)
    for index, name in enumerate(chart.names):
        canvas.setFillColor(chart.fills[index % len(chart.fills)])
        canvas.rect(x + index * step, y, chart.size * 0.7, chart.size * 0.7, stroke=0, fill=1)
        canvas.setFillColor(chart.ink)
        canvas.drawString(x + index * step + chart.size, y, name)


def _columns(canvas: Any, chart: Chart, highest: float, box: tuple[float, float, float, float]) -> None:
    """Upright bars or lines: names under the axis, values at its left."""
    x, y, width, height = box
    size = chart.size
    left, bottom = x + size * 2.8, y + size * 1.5
    wide, tall = x + width - left, y + height - bottom - size
    for tick in range(5):
        at = bottom + tall * tick / 4
        canvas.setStrokeColor("#c8ccd2")
        canvas.line(left, at, left + wide, at)
        canvas.setFillColor(chart.ink)
        canvas.drawRightString(left - 3, at - size * 0.3, _number(highest * tick / 4))
    count = len(chart.labels)
    step = wide / count
    for index, label in enumerate(chart.labels):
        canvas.drawCentredString(left + (index + 0.5) * step, y, label)
    for number, values in enumerate(chart.series):
        colour = chart.fills[number % len(chart.fills)]
        canvas.setFillColor(colour)
        canvas.setStrokeColor(colour)
        if chart.kind == "lines":
            points = [
                (left + (index + 0.5) * step, bottom + tall * value / highest) for index, value in enumerate(values)
            ]
            canvas.setLineWidth(1.4)
            canvas.lines([(*a, *b) for a, b in pairwise(points)])
            for point in points:
                canvas.circle(*point, 1.8, stroke=0, fill=1)
            continue
        thick = step * 0.7 / len(chart.series)
        for index, value in enumerate(values):
            at = left + index * step + step * 0.15 + number * thick
            canvas.setFillColor(colour)
            canvas.rect(at, bottom, thick, tall * value / highest, stroke=0, fill=1)
            if chart.values and len(chart.series) == 1:
                canvas.setFillColor(chart.ink)
                canvas.drawCentredString(at + thick / 2, bottom + tall * value / highest + 2, _number(value))
    _axes(canvas, chart.ink, left, bottom, wide, tall)


def _rows(canvas: Any, chart: Chart, highest: float, box: tuple[float, float, float, float]) -> None:
    """Lying bars: names at the left, values at the ends or under the axis."""
    x, y, width, height = box
    size = chart.size
    left, bottom = x + width * 0.3, y + size * 1.5
    wide, tall = x + width - left - size * 2.5, y + height - bottom
    step = tall / len(chart.labels)
    canvas.setFillColor(chart.ink)
    for tick in range(3):
        canvas.drawCentredString(left + wide * tick / 2, y, _number(highest * tick / 2))
    for index, label in enumerate(chart.labels):
        canvas.setFillColor(chart.ink)
        canvas.drawRightString(left - 4, bottom + tall - (index + 0.5) * step - size * 0.3, label)
        thick = step * 0.75 / len(chart.series)
        for number, values in enumerate(chart.series):
            top = bottom + tall - index * step - step * 0.12 - number * thick
            canvas.setFillColor(chart.fills[number % len(chart.fills)])
            long = wide * values[index] / highest
            canvas.rect(left, top - thick, long, thick, stroke=0, fill=1)
            if chart.values and len(chart.series) == 1:
                canvas.setFillColor(chart.ink)
                canvas.drawString(left + long + 2, top - thick / 2 - size * 0.3, _number(values[index]))
    _axes(canvas, chart.ink, left, bottom, wide, tall)


def _axes(canvas: Any, ink: str, left: float, bottom: float, wide: float, tall: float) -> None:
    canvas.setStrokeColor(ink)
    canvas.setLineWidth(0.8)
    canvas.line(left, bottom, left + wide, bottom)
    canvas.line(left, bottom, left, bottom + tall)
