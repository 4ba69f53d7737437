"""Draws a text as a page image, for requests that set ``render_text``."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ziprerank.bundle import ImageRules
from ziprerank.errors import InvalidInput
from ziprerank.inputs.images import resize_page
from ziprerank.inputs.prepared import Prepared, WarningPage
from ziprerank.inputs.sizes import image_size
from ziprerank.serve.font_files import IN_THE_BOX, is_selector, open_font, read_font
from ziprerank.serve.typeface import Fonts, Typeface

SHAPE = 0.77  # width / height of the sheet, as of letter paper
LARGEST, SMALLEST = 20, 9  # font sizes in px; letters smaller than that run together
SPACING = 1.25  # line height / font size
MARGIN = 0.04  # margin / height of the sheet
_SURE = 1.05  # a line's width differs by less than this factor from that of its words and blanks
MOST_CHARACTERS = 20_000  # more than fits the largest sheet at the smallest type; what is beyond is never laid out


def check_font(path: Path | None) -> None:
    """Raises InvalidInput unless ``path`` is a font, or None."""
    font = read_font(path or IN_THE_BOX)
    open_font(font.path, font.number, LARGEST)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A text laid out on a sheet.

    Attributes:
        shape: (height, width) in px.
        lines: The text's, or those that fit.
        fonts: What they are drawn with.
        size: Font size in px.
        warnings: What the sheet does not show of the text, a sentence for each reason.
    """

    shape: tuple[int, int]
    lines: tuple[str, ...]
    fonts: Fonts
    size: int
    warnings: tuple[str, ...] = ()

    def draw(self) -> Image.Image:
        """Draws the text in black on white, as an RGB image."""
        height, width = self.shape
        sheet = Image.new("RGB", (width, height), "white")
        draw, face, margin = ImageDraw.Draw(sheet), Typeface(self.fonts, self.size), round(height * MARGIN)
        for number, line in enumerate(self.lines):
            face.draw(draw, margin, margin + (number + 0.5) * self.size * SPACING, line)
        return sheet


def lay_out(text: str, height: int, font: Path | None = None, check: Callable[[], None] = lambda: None) -> Sheet:
    """Lays a text out on a sheet, in the largest font size at which all of it fits.

    The end of a text that does not fit at the smallest size is left out, and characters that no font has are drawn as
    boxes; ``Sheet.warnings`` says so. The time grows with the length of the text and no faster, whatever its words are.

    Args:
        text: What to draw.
        height: Height of the sheet in px.
        font: TrueType or OpenType file of the main font, as for ``Fonts.of``.
        check: Called for each font size; may raise to end the work.

    Raises:
        InvalidInput: The text is empty, or the font cannot be read.
    """
    paragraphs = [_words(paragraph) for paragraph in text[:MOST_CHARACTERS].splitlines()]
    letters = sum(len(word) for words in paragraphs for word in words)
    if not letters:
        raise InvalidInput("the text is empty: leave it out")
    fonts = Fonts.of("".join(word for words in paragraphs for word in words), font)
    width, margin = round(height * SHAPE), round(height * MARGIN)
    for size in range(LARGEST, SMALLEST - 1, -1):
        check()
        face = Typeface(fonts, size)
        most = int((height - 2 * margin) / (size * SPACING))
        wrapped = (line for words in paragraphs for line in _wrap(words, face, width - 2 * margin))
        lines = tuple(islice(wrapped, most + 1))
        if len(lines) <= most and len(text) <= MOST_CHARACTERS:
            return Sheet((height, width), lines, fonts, size, fonts.warnings())
    shown, letters = sum(map(_letters, lines[:most])), letters + _letters(text[MOST_CHARACTERS:])
    cut = f"cut: {shown:,} of its {letters:,} characters without blanks fit on the page of {width} x {height} px"
    return Sheet((height, width), lines[:most], fonts, SMALLEST, (cut, *fonts.warnings()))


class TextPage(WarningPage):
    """A ``PageSource`` that draws a text when it is asked for; until then the text takes less memory than its page."""

    source = "text"
    page = None

    def __init__(self, sheet: Sheet, rules: ImageRules) -> None:
        self._sheet = sheet
        self._rules = rules
        self.size = image_size(*sheet.shape, rules)

    def read(self) -> Prepared:
        """Returns the pixels as the model reads them."""
        pixels = np.asarray(resize_page(self._sheet.draw(), self.size, self._rules.longest_side))
        return Prepared(pixels, self._sheet.warnings)

    def picture(self, longest_side: int) -> Image.Image:
        """Returns the page as an image whose longest side has at most that many pixels."""
        picture = self._sheet.draw()
        picture.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
        return picture


def _letters(text: str) -> int:
    """Returns the number of characters that are no blanks."""
    return sum(map(len, text.split()))


def _words(paragraph: str) -> list[str]:
    """Returns the words of a paragraph, composed (NFC); controls count as blanks, what shows nothing is left out."""
    signs = []
    for sign in unicodedata.normalize("NFC", paragraph):
        category = unicodedata.category(sign)
        if category != "Cf" and not is_selector(sign):
            signs.append(" " if category == "Cc" else sign)
    return "".join(signs).split()


def _wrap(words: Sequence[str], face: Typeface, measure: int) -> Iterator[str]:
    """Breaks a paragraph at blanks into lines of at most ``measure`` px; longer words are broken at the line's end.

    Words are measured one by one and their widths added; a line is measured only where that sum, which knows no kerning
    with blanks, is too near to ``measure`` to decide. Of a word no more is measured than could fit.
    """
    line, width = "", 0.0  # without kerning
    blank = face.width(" ")
    for word in words:
        rest = word
        while rest:
            length = _fitting(rest, face, measure)
            wide = face.width(rest[:length])
            longer = width + blank + wide if line else wide
            if line and (
                length < len(rest)
                or longer > measure * _SURE
                or (longer > measure / _SURE and face.width(f"{line} {rest}") > measure)
            ):
                yield line
                line, width = "", 0.0
            elif length == len(rest):
                line, width, rest = f"{line} {rest}" if line else rest, longer, ""
            else:
                yield rest[:length]
                rest = rest[length:]
    yield line


def _fitting(word: str, face: Typeface, measure: int) -> int:
    """Returns how many characters of a word fit into a line, at least one: all, or as many as bisection finds."""
    known, tried = 0, 32  # characters that fit, and those tried next: twice as many each time
    while (end := min(tried, len(word))) > known and face.width(word[:end]) <= measure:
        known, tried = end, 2 * end
    if known == len(word):
        return known
    low, high = known, end
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if face.width(word[:middle]) <= measure else (low, middle)
    return max(1, low)
