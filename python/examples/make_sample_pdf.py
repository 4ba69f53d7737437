"""Writes sample.pdf: the annual report of an invented ferry company, 18 pages with text, tables and charts.

    python make_sample_pdf.py [OUT]

Needs reportlab. The same version of it writes the same bytes every time.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from report_text import CHAPTERS, COMPANY, Bars, Chapter, Lines, Slices, Tabulation
from reportlab.graphics.charts.barcharts import VerticalBarChart
from reportlab.graphics.charts.linecharts import HorizontalLineChart
from reportlab.graphics.charts.piecharts import Pie
from reportlab.graphics.shapes import Drawing, String
from reportlab.lib import colors
from reportlab.lib.pagesizes import B5
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, PageBreak, PageTemplate, Paragraph, Spacer, Table

NAVY, TEAL, SAND = colors.HexColor("#123a5c"), colors.HexColor("#2a8c82"), colors.HexColor("#d9a441")
GREY, PALE = colors.HexColor("#5c6570"), colors.HexColor("#eef2f5")
PALETTE = (NAVY, TEAL, SAND, colors.HexColor("#b4513c"), colors.HexColor("#7d8fa3"), colors.HexColor("#6a5a8c"))
WIDTH = B5[0] - 36 * mm


@dataclass(frozen=True)
class Styles:
    kicker = ParagraphStyle("kicker", fontName="Helvetica-Bold", fontSize=10, leading=13, textColor=TEAL)
    title = ParagraphStyle("title", fontName="Helvetica-Bold", fontSize=20, leading=25, textColor=NAVY, spaceAfter=10)
    body = ParagraphStyle("body", fontName="Times-Roman", fontSize=12, leading=15.5, spaceAfter=8)
    caption = ParagraphStyle(
        "caption", fontName="Helvetica-Bold", fontSize=10.5, leading=14, textColor=NAVY, spaceBefore=8, spaceAfter=5
    )
    cell = ParagraphStyle("cell", fontName="Helvetica", fontSize=10, leading=13)


def table(content: Tabulation) -> Table:
    """First column left-aligned text, the others right-aligned; every second row tinted."""
    columns = len(content.head)
    first = WIDTH * (0.40 if columns > 2 else 0.62)
    widths = [first] + [(WIDTH - first) / (columns - 1)] * (columns - 1)
    built = Table([content.head, *content.rows], colWidths=widths, hAlign="LEFT")
    built.setStyle(
        [
            ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 10),
            ("FONT", (0, 1), (-1, -1), "Helvetica", 10),
            ("TEXTCOLOR", (0, 0), (-1, 0), colors.white),
            ("BACKGROUND", (0, 0), (-1, 0), NAVY),
            ("ROWBACKGROUNDS", (0, 1), (-1, -1), (colors.white, PALE)),
            ("ALIGN", (1, 0), (-1, -1), "RIGHT"),
            ("LINEBELOW", (0, -1), (-1, -1), 0.8, NAVY),
            ("TOPPADDING", (0, 0), (-1, -1), 3.5),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 3.5),
        ]
    )
    return built


def axes(chart: VerticalBarChart | HorizontalLineChart, names: Sequence[str], highest: float) -> None:
    chart.x, chart.y, chart.width, chart.height = 34, 26, WIDTH - 44, 130
    chart.categoryAxis.categoryNames = list(names)
    chart.categoryAxis.labels.fontName = chart.valueAxis.labels.fontName = "Helvetica"
    chart.categoryAxis.labels.fontSize = chart.valueAxis.labels.fontSize = 9.5
    chart.valueAxis.valueMin = 0
    chart.valueAxis.valueMax = highest
    chart.valueAxis.gridStrokeColor = colors.HexColor("#d5dbe1")
    chart.valueAxis.visibleGrid = True
    chart.valueAxis.strokeColor = chart.categoryAxis.strokeColor = GREY


def bar_chart(content: Bars) -> Drawing:
    drawing = Drawing(WIDTH, 164)
    chart = VerticalBarChart()
    chart.data = [content.values]
    axes(chart, content.names, content.highest)
    chart.bars[0].fillColor, chart.bars[0].strokeColor = TEAL, None
    chart.groupSpacing = 6
    drawing.add(chart)
    return drawing


def line_chart(content: Lines) -> Drawing:
    drawing = Drawing(WIDTH, 186)
    chart = HorizontalLineChart()
    chart.data = [values for _, values in content.series]
    axes(chart, content.names, content.highest)
    drawing.add(chart)
    left = 34.0
    for (name, _), colour, line in zip(content.series, PALETTE, range(len(content.series)), strict=False):
        chart.lines[line].strokeColor, chart.lines[line].strokeWidth = colour, 2.2
        drawing.add(String(left, 170, name, fontName="Helvetica-Bold", fontSize=10, fillColor=colour))
        left += 24 + 6.0 * len(name)
    return drawing


def pie_chart(content: Slices) -> Drawing:
    drawing = Drawing(WIDTH, 158)
    chart = Pie()
    chart.x, chart.y, chart.width, chart.height = WIDTH / 2 - 62, 14, 124, 124
    chart.data = [value for _, value in content.parts]
    chart.labels = [f"{name} {value}%" for name, value in content.parts]
    chart.sideLabels = True
    chart.slices.fontName, chart.slices.fontSize = "Helvetica", 10
    chart.slices.strokeColor, chart.slices.strokeWidth = colors.white, 1
    for part, colour in enumerate(PALETTE[: len(content.parts)]):
        chart.slices[part].fillColor = colour
    drawing.add(chart)
    return drawing


def exhibit(content: Tabulation | Bars | Lines | Slices) -> Flowable:
    if isinstance(content, Tabulation):
        return table(content)
    if isinstance(content, Bars):
        return bar_chart(content)
    return line_chart(content) if isinstance(content, Lines) else pie_chart(content)


def chapter_flow(chapter: Chapter) -> list[Flowable]:
    flow: list[Flowable] = [Paragraph(chapter.kicker.upper(), Styles.kicker), Paragraph(chapter.title, Styles.title)]
    flow += [Paragraph(text, Styles.body) for text in chapter.before]
    for content in chapter.exhibits:
        flow += [Paragraph(content.caption, Styles.caption), exhibit(content), Spacer(1, 10)]
    flow += [Paragraph(text, Styles.body) for text in chapter.after]
    return flow


def decorate(canvas: Canvas, document: BaseDocTemplate) -> None:
    canvas.saveState()
    canvas.setFillColor(NAVY)
    canvas.rect(0, B5[1] - 9 * mm, B5[0], 9 * mm, stroke=0, fill=1)
    canvas.setFillColor(GREY)
    canvas.setFont("Helvetica", 9.5)
    canvas.drawString(18 * mm, 11 * mm, f"{COMPANY}   Annual Report 2024")
    canvas.drawRightString(B5[0] - 18 * mm, 11 * mm, str(document.page))
    canvas.restoreState()


def main(out: Path) -> None:
    document = BaseDocTemplate(
        str(out),
        pagesize=B5,
        invariant=1,
        title=f"{COMPANY}: Annual Report 2024",
        author="ziprerank examples",
    )
    frame = Frame(
        18 * mm, 18 * mm, WIDTH, B5[1] - 34 * mm, leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0
    )
    document.addPageTemplates([PageTemplate("page", [frame], onPage=decorate)])
    flow: list[Flowable] = []
    for number, chapter in enumerate(CHAPTERS):
        flow += [PageBreak()] if number else []
        flow += chapter_flow(chapter)
    document.build(flow)
    assert document.page == len(CHAPTERS), f"{document.page} pages for {len(CHAPTERS)} chapters: one overflows"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("sample.pdf"))
