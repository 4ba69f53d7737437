"""The look of a synthetic document, and the flow of blocks through its columns and pages.

A :class:`Style` is drawn once a document; a :class:`Flow` holds the place on the page, moves on when a column is full,
and draws what every page has: background, running header, page number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from ziprerank.train.errors import TrainError

from .typefaces import Family, Widths

PAGES = {"a4": (595.28, 841.89), "letter": (612.0, 792.0), "a5": (419.53, 595.28), "booklet": (288.0, 288.0)}  # points
INKS = ("#000000", "#111111", "#222222", "#1a1a2e", "#2b2b2b")
ACCENTS = ("#123a5c", "#2a6f7c", "#8c2f39", "#3d5a1e", "#6a3d7c", "#a65a12", "#1f4fa3", "#7a1f4f", "#0b6e4f", "#444444")
PAPERS = ("#fffdf5", "#f4f1e8", "#eef3f8", "#f2f7ef", "#fdf0f0")
LIGHT = ("#eef2f5", "#f3ede0", "#e6f0ea", "#f5e6e8", "#e8e8f5", "#eeeeee")


class DocumentFullError(Exception):
    """The last column of the last page is full. Ends the drawing; not a fault."""


@dataclass(frozen=True)
class Style:
    """How one document looks. Lengths in points, colours as ``#rrggbb``."""

    page: str  # a key of PAGES
    margin: float
    columns: int
    gutter: float
    justified: bool
    body: Family
    heading: Family
    mono: Family
    size: float
    leading: float  # points from line to line
    ink: str
    accent: str
    fills: tuple[str, ...]
    light: str
    paper: str | None
    header: bool
    footer: bool
    rule: bool  # a line under the header
    band: bool  # a coloured band at the top of the page
    numbered: bool
    caps: bool  # headings in capitals

    @property
    def characters(self) -> frozenset[str]:
        """What every face of the document can write."""
        return self.body.characters & self.heading.characters & self.mono.characters


def choose_style(rng: Random, faces: Sequence[Family], mono: Sequence[Family]) -> Style:
    """Draws a style: ``faces`` for text and headings, ``mono`` for listings; neither empty."""
    page = rng.choices(list(PAGES), (4, 3, 2, 3))[0]
    narrow = page == "booklet"
    columns = 1 if narrow else rng.choices((1, 2, 3), (5, 4, 0 if page == "a5" else 2))[0]
    size = rng.choice((10, 10.5, 11, 11.5, 12)) if narrow else rng.choice((8, 8.5, 9, 9.5, 10, 10.5, 11, 12, 13))
    if columns == 3:
        size = min(size, 9.5)
    body = rng.choice(faces)
    accent = rng.choice(ACCENTS)
    night = rng.random() < 0.03
    return Style(
        page=page,
        margin=rng.uniform(12, 24) if narrow else rng.uniform(36, 80) if page != "a5" else rng.uniform(28, 54),
        columns=columns,
        gutter=rng.uniform(12, 22),
        justified=rng.random() < 0.5,
        body=body,
        heading=body if rng.random() < 0.5 else rng.choice(faces),
        mono=rng.choice(mono),
        size=size,
        leading=size * rng.uniform(1.1, 1.5),
        ink="#e8e8e8" if night else rng.choice(INKS),
        accent="#9fc5e8" if night else accent,
        fills=tuple(rng.sample(ACCENTS, 3)) if not night else ("#9fc5e8", "#f6b26b", "#93c47d"),
        light="#333a44" if night else rng.choice(LIGHT),
        paper="#1c2128" if night else rng.choice(PAPERS) if rng.random() < 0.12 else None,
        header=rng.random() < 0.55,
        footer=rng.random() < 0.75,
        rule=rng.random() < 0.5,
        band=rng.random() < 0.15,
        numbered=rng.random() < 0.5,
        caps=rng.random() < 0.15,
    )


class Words:
    """Reads texts in order, as words that the document's faces can write; starts over after the last.

    A word with a character that a face has no glyph for is left out. TrainError where no word is left.
    """

    def __init__(self, texts: Sequence[str], characters: frozenset[str], rng: Random) -> None:
        self._texts, self._characters, self._rng = texts, characters, rng
        self._next = 0
        if not any(self._words(text) for text in texts):
            raise TrainError(
                f"{len(texts)} texts without a word that the typeface can write: give others, or more fonts"
            )

    def _words(self, text: str) -> list[str]:
        return [word for word in text.split() if self._characters.issuperset(word)]

    def paragraph(self) -> list[str]:
        """The next text."""
        while True:
            words = self._words(self._texts[self._next % len(self._texts)])
            self._next += 1
            if words:
                return words

    def phrase(self, most: int, longest: int = 24) -> list[str]:
        """1 to ``most`` words in a row out of the text that comes next, none longer than ``longest`` characters."""
        for ahead in range(len(self._texts)):
            words = self._words(self._texts[(self._next + ahead) % len(self._texts)])
            start = self._rng.randrange(max(1, len(words) - most))
            found = [word for word in words[start : start + most] if len(word) <= longest]
            if found:
                return found
        return ["x"]  # nothing but long words: a letter of ASCII, which every face has


class Flow:
    """The place where the next block goes: column ``x``, ``width`` and ``y``, the top of what is free."""

    def __init__(self, canvas: Any, style: Style, words: Words, rng: Random, pages: int) -> None:
        self.canvas, self.style, self.words, self.rng, self.pages = canvas, style, words, rng, pages
        self.widths = Widths()
        self.drawn: Counter[str] = Counter()
        self.section = 0
        self.figures = 0
        self.running = " ".join(words.phrase(5, 14))
        self._paper = PAGES[style.page]
        self.width = (self._paper[0] - 2 * style.margin - (style.columns - 1) * style.gutter) / style.columns
        edge = style.size * 1.8
        self.bottom = style.margin + (edge if style.footer else 0.0)
        self.top = self._paper[1] - style.margin - (edge if style.header or style.band else 0.0)
        self.page = 0
        self._column_top = self.top
        self._open_page()

    @property
    def full(self) -> float:
        """Width of the type area over all columns."""
        return self._paper[0] - 2 * self.style.margin

    @property
    def room(self) -> float:
        """Points left in the column."""
        return self.y - self.bottom

    def begin_columns_here(self) -> None:
        """Keeps what has been drawn over the page's full width above all of its columns."""
        self._column_top = self.y

    def next_column(self) -> None:
        """Moves to the next column or page; DocumentFullError after the last."""
        if self.column + 1 < self.style.columns:
            self._open_column(self.column + 1)
            return
        if self.page + 1 >= self.pages:
            raise DocumentFullError
        self.canvas.showPage()
        self.page += 1
        self._column_top = self.top
        self._open_page()

    def claim(self, height: float) -> float:
        """Moves on unless ``height`` points are free, takes them, and returns the y of their lower edge."""
        if self.room < height:
            self.next_column()
        self.y -= height
        return self.y

    def _open_column(self, column: int) -> None:
        self.column = column
        self.x = self.style.margin + column * (self.width + self.style.gutter)
        self.y = self._column_top

    def _open_page(self) -> None:
        style, canvas = self.style, self.canvas
        wide, tall = self._paper
        small = max(6.5, style.size * 0.85)
        if style.paper:
            canvas.setFillColor(style.paper)
            canvas.rect(0, 0, wide, tall, stroke=0, fill=1)
        if style.band:
            canvas.setFillColor(style.accent)
            canvas.rect(0, tall - style.margin * 0.6, wide, style.margin * 0.6, stroke=0, fill=1)
        canvas.setFillColor(style.ink)
        canvas.setFont(style.heading.regular, small)
        if style.header:
            at = self.top + style.size * 0.9
            if self.page % 2:
                canvas.drawRightString(wide - style.margin, at, self.running)
            else:
                canvas.drawString(style.margin, at, self.running)
            if style.rule:
                canvas.setStrokeColor(style.accent)
                canvas.setLineWidth(0.6)
                canvas.line(style.margin, at - 3, wide - style.margin, at - 3)
        if style.footer:
            text = str(self.page + 1) if style.columns % 2 else f"Page {self.page + 1} of {self.pages}"
            canvas.drawCentredString(wide / 2, style.margin * 0.8, text)
        self._open_column(0)

    def write(
        self,
        lines: Sequence[tuple[list[str], float]],
        face: str,
        size: float,
        leading: float,
        *,
        x: float,
        top: float,
        measure: float,
        colour: str,
        justified: bool = False,
        ends: bool = True,
    ) -> None:
        """Writes broken lines from ``top`` down; ``ends``: the last of them ends its paragraph and is not stretched."""
        text = self.canvas.beginText()
        text.setFont(face, size)
        text.setFillColor(colour)
        baseline = top - (leading - size) / 2 - size * 0.8
        for index, (words, width) in enumerate(lines):
            text.setTextOrigin(x, baseline - index * leading)
            if justified:
                last = ends and index == len(lines) - 1
                slack = measure - width
                gaps = len(words) - 1
                # a line that would be mostly gaps stays ragged
                text.setWordSpace(0.0 if last or gaps < 1 or slack > 0.4 * measure else slack / gaps)
            text.textOut(" ".join(words))
        if justified:
            text.setWordSpace(0.0)
        self.canvas.drawText(text)

    def running_text(
        self,
        words: Sequence[str],
        face: str,
        size: float,
        leading: float,
        colour: str,
        *,
        indent: float = 0.0,
        justified: bool = False,
    ) -> Iterator[float]:
        """Writes ``words`` through as many columns as they take; yields the top of each piece once it is written."""
        measure = self.width - indent
        lines = list(self.widths.lines(words, face, size, measure))
        while lines:
            fit = int(self.room // leading)
            if fit < 1:
                self.next_column()
                continue
            piece, lines = lines[:fit], lines[fit:]
            top = self.y
            self.y -= len(piece) * leading
            self.write(
                piece,
                face,
                size,
                leading,
                x=self.x + indent,
                top=top,
                measure=measure,
                colour=colour,
                justified=justified,
                ends=not lines,
            )
            yield top
