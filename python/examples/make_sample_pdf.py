"""Writes sample.pdf, the pocket report of an invented ferry company: 18 pages with text, tables and charts.

    python make_sample_pdf.py [OUT]

Pages are 4 inches square with text of 10 to 12 points, a scale that the small models can read. Needs reportlab; one
version of it writes the same bytes every time.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from report_text import CHAPTERS, COMPANY, Bars, Exhibit, Lines, Slices, Tabulation
from reportlab.graphics.charts.barcharts import VerticalBarChart
from reportlab.graphics.charts.linecharts import HorizontalLineChart
from reportlab.graphics.charts.piecharts import Pie
from reportlab.graphics.shapes import Drawing, String
from reportlab.lib import colors
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, PageBreak, PageTemplate, Paragraph, Table

NAVY, TEAL, SAND = colors.HexColor("#123a5c"), colors.HexColor("#2a8c82"), colors.HexColor("#d9a441")
GREY, PALE = colors.HexColor("#5c6570"), colors.HexColor("#eef2f5")
PALETTE = (NAVY, TEAL, SAND, colors.HexColor("#b4513c"), colors.HexColor("#7d8fa3"), colors.HexColor("#6a5a8c"))
SIDE = 288.0  # pt
MARGIN = 14.0
WIDTH = SIDE - 2 * MARGIN


TITLE = ParagraphStyle("title", fontName="Helvetica-Bold", fontSize=16, leading=20, textColor=NAVY, spaceAfter=6)
BODY = ParagraphStyle("body", fontName="Helvetica", fontSize=12, leading=15.5, spaceAfter=7)
CAPTION = ParagraphStyle("caption", fontName="Helvetica-Bold", fontSize=11, leading=14, textColor=TEAL, spaceAfter=3)


def table(content: Tabulation) -> Table:
    """First column left-aligned text, the others right-aligned; every second row tinted."""
    columns = len(content.head)
    first = WIDTH * (0.5 if columns < 4 else 0.4)
    widths = [first] + [(WIDTH - first) / (columns - 1)] * (columns - 1)
    built = Table([content.head, *content.rows], colWidths=widths, hAlign="LEFT")
    built.setStyle(
        [
            ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 11.5),
            ("FONT", (0, 1), (-1, -1), "Helvetica", 11.5),
            ("TEXTCOLOR", (0, 0), (-1, 0), colors.white),
            ("BACKGROUND", (0, 0), (-1, 0), NAVY),
            ("ROWBACKGROUNDS", (0, 1), (-1, -1), (colors.white, PALE)),
            ("ALIGN", (1, 0), (-1, -1), "RIGHT"),
            ("LINEBELOW", (0, -1), (-1, -1), 0.8, NAVY),
            ("TOPPADDING", (0, 0), (-1, -1), 2.2),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 2.2),
        ]
    )
    return built


def axes(chart: VerticalBarChart | HorizontalLineChart, names: Sequence[str], highest: float) -> None:
    chart.x, chart.y, chart.width, chart.height = 32, 18, WIDTH - 36, 96
    chart.categoryAxis.categoryNames = list(names)
    chart.categoryAxis.labels.fontName = chart.valueAxis.labels.fontName = "Helvetica"
    chart.categoryAxis.labels.fontSize = chart.valueAxis.labels.fontSize = 10.5
    chart.valueAxis.valueMin = 0
    chart.valueAxis.valueMax = highest
    chart.valueAxis.gridStrokeColor = colors.HexColor("#d5dbe1")
    chart.valueAxis.visibleGrid = True
    chart.valueAxis.strokeColor = chart.categoryAxis.strokeColor = GREY


def bar_chart(content: Bars) -> Drawing:
    drawing = Drawing(WIDTH, 120)
    chart = VerticalBarChart()
    chart.data = [content.values]
    axes(chart, content.names, content.highest)
    chart.bars[0].fillColor, chart.bars[0].strokeColor = TEAL, None
    chart.groupSpacing = 6
    drawing.add(chart)
    return drawing


def line_chart(content: Lines) -> Drawing:
    drawing = Drawing(WIDTH, 134)
    chart = HorizontalLineChart()
    chart.data = [values for _, values in content.series]
    axes(chart, content.names, content.highest)
    drawing.add(chart)
    left = 32.0
    for (name, _), colour, line in zip(content.series, PALETTE, range(len(content.series)), strict=False):
        chart.lines[line].strokeColor, chart.lines[line].strokeWidth = colour, 2.2
        drawing.add(String(left, 121, name, fontName="Helvetica-Bold", fontSize=11, fillColor=colour))
        left += 24 + 6.0 * len(name)
    return drawing


def pie_chart(content: Slices) -> Drawing:
    drawing = Drawing(WIDTH, 140)
    chart = Pie()
    chart.x, chart.y, chart.width, chart.height = WIDTH / 2 - 50, 18, 100, 100
    chart.data = [value for _, value in content.parts]
    chart.labels = [f"{name} {value}%" for name, value in content.parts]
    chart.sideLabels = True
    chart.slices.fontName, chart.slices.fontSize = "Helvetica", 11
    chart.slices.strokeColor, chart.slices.strokeWidth = colors.white, 1
    for part, colour in enumerate(PALETTE[: len(content.parts)]):
        chart.slices[part].fillColor = colour
    drawing.add(chart)
    return drawing


def exhibit(content: Exhibit) -> list[Flowable]:
    if isinstance(content, Tabulation):
        return [table(content)]
    if isinstance(content, Slices):
        return [pie_chart(content)]
    drawing = bar_chart(content) if isinstance(content, Bars) else line_chart(content)
    return [Paragraph(content.caption, CAPTION), drawing]


def decorate(canvas: Canvas, document: BaseDocTemplate) -> None:
    canvas.saveState()
    canvas.setFillColor(TEAL)
    canvas.rect(0, SIDE - 7, SIDE, 7, stroke=0, fill=1)
    canvas.setFillColor(GREY)
    canvas.setFont("Helvetica", 10)
    canvas.drawRightString(SIDE - MARGIN, 9, str(document.page))
    canvas.restoreState()


def main(out: Path) -> None:
    title = f"{COMPANY}: pocket report 2024"
    document = BaseDocTemplate(str(out), pagesize=(SIDE, SIDE), invariant=1, title=title, author="ziprerank examples")
    frame = Frame(MARGIN, 18, WIDTH, SIDE - 34, leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0)
    document.addPageTemplates([PageTemplate("page", [frame], onPage=decorate)])
    flow: list[Flowable] = []
    for number, chapter in enumerate(CHAPTERS):
        flow += [PageBreak()] if number else []
        flow += [Paragraph(chapter.title, TITLE), *(Paragraph(text, BODY) for text in chapter.text)]
        flow += exhibit(chapter.exhibit) if chapter.exhibit else []
    document.build(flow)
    if document.page != len(CHAPTERS):
        raise SystemExit(f"{document.page} pages for {len(CHAPTERS)} chapters: one overflows")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("sample.pdf"))
