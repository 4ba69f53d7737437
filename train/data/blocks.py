"""What a synthetic document is made of: paragraphs, headings, lists, tables, listings, charts, boxes, quotations.

Each block takes its words from the flow's texts and is drawn at the flow's place.
"""

from __future__ import annotations

from collections.abc import Callable

from . import charts
from .layout import Flow

CODE = (
    "def {a}({b}, {c}={n}):",
    "    return {a}.{b}({n})",
    "if {a} < {n}: {b} = {c}",
    "for {a} in {b}: {c} += {n}",
    "{a} = {b}[{n}] * {c}",
    'print("{a} {b}", {c})',
    "{a}({b}, {c});  // {d}",
    "$ {a} --{b}={n} {c}.txt",
    "{a}: {b} {c} {d}",
    "# {a} {b} {c} {d}",
)


def title(flow: Flow) -> None:
    """The document's name over the full width of its first page, sometimes in a coloured field."""
    style, rng = flow.style, flow.rng
    size = style.size * rng.uniform(1.6, 2.4)
    leading = size * 1.2
    inset = size * 0.5
    words = flow.words.phrase(rng.randint(2, 6), 16)
    lines = list(flow.widths.lines(words, style.heading.bold, size, flow.full - 2 * inset))[:3]
    height = len(lines) * leading
    filled = rng.random() < 0.3
    if filled:
        flow.canvas.setFillColor(style.accent)
        flow.canvas.rect(flow.x, flow.y - height - inset, flow.full, height + inset, stroke=0, fill=1)
    flow.write(
        lines,
        style.heading.bold,
        size,
        leading,
        x=flow.x + (inset if filled else 0.0),
        top=flow.y - (inset / 2 if filled else 0.0),
        measure=flow.full,
        colour=(style.paper or "#ffffff") if filled else style.accent,
    )
    flow.y -= height + inset + style.leading
    flow.begin_columns_here()


def paragraph(flow: Flow) -> None:
    """A text of the corpus; now and then in italics, bold or colour."""
    style, rng = flow.style, flow.rng
    odd = rng.random()
    face = style.body.italic if odd < 0.04 else style.body.bold if odd < 0.06 else style.body.regular
    colour = style.accent if 0.06 <= odd < 0.1 else style.ink
    words = flow.words.paragraph()
    for _ in flow.running_text(words, face, style.size, style.leading, colour, justified=style.justified):
        pass
    flow.y -= style.leading * 0.5


def heading(flow: Flow) -> None:
    """A section's or subsection's name, numbered if the document numbers."""
    style, rng = flow.style, flow.rng
    minor = flow.section > 0 and rng.random() < 0.4
    if not minor:
        flow.section += 1
    words = flow.words.phrase(rng.randint(1, 6), 18)
    if style.caps:
        words = [upper if style.characters.issuperset(upper := word.upper()) else word for word in words]
    if style.numbered:
        words = [f"{flow.section}.{rng.randint(1, 9)}" if minor else f"{flow.section}", *words]
    size = style.size * (1.12 if minor else 1.35)
    leading = size * 1.25
    lines = list(flow.widths.lines(words, style.heading.bold, size, flow.width))
    height = len(lines) * leading
    if flow.room < height + 3 * style.leading:  # not alone at the foot of a column
        flow.next_column()
    flow.y -= style.leading * 0.3
    flow.write(
        lines,
        style.heading.bold,
        size,
        leading,
        x=flow.x,
        top=flow.y,
        measure=flow.width,
        colour=style.ink if minor else style.accent,
    )
    flow.y -= height + style.leading * 0.2


def bullets(flow: Flow) -> None:
    """Two to six points of up to 25 words, with a sign or a number each."""
    style, rng = flow.style, flow.rng
    signs = [sign for sign in "•–-*" if sign in style.characters]
    sign = rng.choice(signs) if rng.random() < 0.7 else None
    indent = style.size * 1.6
    for number in range(1, rng.randint(2, 6) + 1):
        words = flow.words.paragraph()[: rng.randint(4, 25)]
        pieces = flow.running_text(words, style.body.regular, style.size, style.leading, style.ink, indent=indent)
        top = next(pieces)
        baseline = top - (style.leading - style.size) / 2 - style.size * 0.8
        flow.canvas.setFont(style.body.regular, style.size)
        flow.canvas.setFillColor(style.accent)
        flow.canvas.drawString(flow.x, baseline, sign or f"{number}.")
        for _ in pieces:
            pass
        flow.y -= style.leading * 0.15
    flow.y -= style.leading * 0.35


def _caption(flow: Flow, kind: str) -> None:
    style = flow.style
    flow.figures += 1
    words = [f"{kind}", f"{flow.figures}:", *flow.words.phrase(8, 18)]
    size = style.size * 0.92
    for _ in flow.running_text(words, style.body.italic, size, size * 1.2, style.ink):
        pass
    flow.y -= style.leading * 0.6


def _fit(flow: Flow, words: list[str], face: str, size: float, measure: float) -> str:
    """As many of the words as ``measure`` takes; at least the start of the first."""
    words = words[:]
    while len(words) > 1 and flow.widths.of(" ".join(words), face, size) > measure:
        words.pop()
    word = " ".join(words)
    while len(word) > 1 and flow.widths.of(word, face, size) > measure:
        word = word[:-1]
    return word


def _figure(flow: Flow) -> str:
    rng = flow.rng
    return rng.choice(
        (
            lambda: str(rng.randint(1, 99)),
            lambda: f"{rng.uniform(0, 100):.1f}",
            lambda: f"{rng.randint(1000, 99999):,}",
            lambda: f"{rng.randint(1, 100)}%",
            lambda: str(rng.randint(1900, 2030)),
        )
    )()


def table(flow: Flow) -> None:
    """Words in the first column, words or numbers in the others; a head, and one of three kinds of lines."""
    style, rng, canvas = flow.style, flow.rng, flow.canvas
    size = style.size * 0.95
    step = size * 1.6
    columns = max(2, min(rng.randint(2, 5), int(flow.width // (size * 7))))
    rows = min(rng.randint(3, 9), int((flow.top - flow.bottom) // step) - 3)
    head = [flow.words.phrase(2, 14) for _ in range(columns)]
    wordy = [index == 0 or rng.random() < 0.25 for index in range(columns)]
    wide = flow.width / columns
    height = (rows + 1) * step
    if flow.room < height + 2 * step:  # the caption below it stays with it
        flow.next_column()
    bottom = flow.claim(height)
    top = bottom + height
    look = rng.choice(("grid", "zebra", "rules"))
    if look == "zebra":
        canvas.setFillColor(style.light)
        for row in range(2, rows + 1, 2):
            canvas.rect(flow.x, top - (row + 1) * step, flow.width, step, stroke=0, fill=1)
    filled = look != "rules"
    if filled:
        canvas.setFillColor(style.accent)
        canvas.rect(flow.x, top - step, flow.width, step, stroke=0, fill=1)
    canvas.setStrokeColor(style.accent)
    canvas.setLineWidth(0.5)
    ruled = {"grid": range(rows + 2), "rules": (0, 1, rows + 1), "zebra": (rows + 1,)}[look]
    canvas.lines([(flow.x, top - row * step, flow.x + flow.width, top - row * step) for row in ruled])
    if look == "grid":
        canvas.lines([(flow.x + i * wide, top, flow.x + i * wide, bottom) for i in range(columns + 1)])
    for row in range(rows + 1):
        face = style.body.bold if row == 0 else style.body.regular
        canvas.setFont(face, size)
        canvas.setFillColor((style.paper or "#ffffff") if row == 0 and filled else style.ink)
        baseline = top - row * step - step * 0.5 - size * 0.3
        for column in range(columns):
            words = head[column] if row == 0 else flow.words.phrase(2, 14) if wordy[column] else [_figure(flow)]
            cell = _fit(flow, words, face, size, wide - 6)
            if wordy[column]:
                canvas.drawString(flow.x + column * wide + 3, baseline, cell)
            else:
                canvas.drawRightString(flow.x + (column + 1) * wide - 3, baseline, cell)
    flow.y -= style.leading * 0.3
    _caption(flow, "Table")


def code(flow: Flow) -> None:
    """A listing of four to twelve lines in a fixed-width face, on a tinted field or beside a rule."""
    style, rng, canvas = flow.style, flow.rng, flow.canvas
    size = style.size * 0.9
    step = size * 1.3
    count = min(rng.randint(4, 12), int((flow.top - flow.bottom) // step) - 2)
    lines = []
    for _ in range(count):
        names = ["".join(c for c in word if c.isalnum()) or "x" for word in flow.words.phrase(4, 14)]
        a, b, c, d = (names * 4)[:4]
        line = rng.choice(CODE).format(a=a, b=b, c=c, d=d, n=rng.randint(0, 999))
        while flow.widths.of(line, style.mono.regular, size) > flow.width - 12:
            line = line[:-1]
        lines.append(line)
    bottom = flow.claim((count + 1) * step)
    top = bottom + (count + 0.5) * step
    if rng.random() < 0.6:
        canvas.setFillColor(style.light)
        canvas.rect(flow.x, bottom, flow.width, (count + 1) * step, stroke=0, fill=1)
    else:
        canvas.setFillColor(style.accent)
        canvas.rect(flow.x, bottom, 2, (count + 1) * step, stroke=0, fill=1)
    text = canvas.beginText(flow.x + 7, top - size * 0.95)
    text.setFont(style.mono.regular, size, step)
    text.setFillColor(style.ink)
    text.textLines(lines, trim=0)
    canvas.drawText(text)
    flow.y -= style.leading * 0.6


def chart(flow: Flow) -> None:
    """A chart of invented values over words of the corpus, with a caption."""
    style, rng = flow.style, flow.rng
    kind = rng.choice(charts.CHARTS)
    size = style.size * 0.85
    count = rng.randint(3, max(3, min(8, int(flow.width // (size * 5)))))
    measure = flow.width * 0.28 if kind == "rows" else (flow.width - size * 3) / count - 3
    years = kind != "rows" and rng.random() < 0.3
    first = rng.randint(1950, 2015)
    if years:
        labels = [str(first + index) for index in range(count)]
    else:
        labels = [_fit(flow, flow.words.phrase(1, 14), style.body.regular, size, measure) for _ in range(count)]
    high = rng.choice((10, 50, 100, 800))
    series = [[rng.randint(high // 10, high) for _ in range(count)] for _ in range(rng.choice((1, 1, 2, 3)))]
    room = flow.width / len(series) - 2 * size
    height = min(flow.width * rng.uniform(0.4, 0.7), 0.5 * (flow.top - flow.bottom))
    if flow.room < height + 3 * style.leading:  # the caption below it stays with it
        flow.next_column()
    bottom = flow.claim(height)
    drawing = charts.Chart(
        kind=kind,
        labels=labels,
        series=series,
        names=[_fit(flow, flow.words.phrase(2, 14), style.body.regular, size, room) for _ in series],
        face=style.body.regular,
        size=size,
        ink=style.ink,
        fills=style.fills,
        values=rng.random() < 0.5,
    )
    charts.draw(flow.canvas, drawing, flow.x, bottom, flow.width, height)
    flow.drawn[f"chart-{kind}"] += 1
    flow.y -= style.leading * 0.3
    _caption(flow, "Figure")


def box(flow: Flow) -> None:
    """A text of up to 45 words on a tinted field with or without a frame."""
    style, rng, canvas = flow.style, flow.rng, flow.canvas
    inset = style.size * 0.7
    words = flow.words.paragraph()[:45]
    measure = flow.width - 2 * inset
    most = int((flow.top - flow.bottom) * 0.6 // style.leading)
    lines = list(flow.widths.lines(words, style.body.regular, style.size, measure))[:most]
    height = len(lines) * style.leading + 2 * inset
    bottom = flow.claim(height)
    canvas.setFillColor(style.light)
    canvas.setStrokeColor(style.accent)
    canvas.setLineWidth(0.8)
    canvas.roundRect(flow.x, bottom, flow.width, height, rng.choice((0, 4)), stroke=rng.randint(0, 1), fill=1)
    flow.write(
        lines,
        style.body.regular,
        style.size,
        style.leading,
        x=flow.x + inset,
        top=bottom + height - inset,
        measure=measure,
        colour=style.ink,
    )
    flow.y -= style.leading * 0.7


def quote(flow: Flow) -> None:
    """A set-off text in larger italics beside a coloured rule."""
    style, canvas = flow.style, flow.canvas
    size = style.size * 1.1
    words = flow.words.paragraph()[:30]
    for top in flow.running_text(words, style.body.italic, size, size * 1.3, style.accent, indent=style.size * 1.5):
        canvas.setFillColor(style.accent)
        canvas.rect(flow.x + 2, flow.y, 1.6, top - flow.y, stroke=0, fill=1)
    flow.y -= style.leading * 0.6


BLOCKS: dict[str, tuple[Callable[[Flow], None], float]] = {  # how to draw each, and how often
    "paragraph": (paragraph, 1.0),
    "heading": (heading, 0.3),
    "bullets": (bullets, 0.12),
    "table": (table, 0.09),
    "code": (code, 0.06),
    "chart": (chart, 0.08),
    "box": (box, 0.06),
    "quote": (quote, 0.05),
}
