"""Draws a text as a page image, for requests that set ``render_text``."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ziprerank.errors import InvalidInput

SHAPE = 0.77  # width / height of the sheet, as of letter paper
LARGEST, SMALLEST = 20, 9  # font sizes in px; letters smaller than that run together
SPACING = 1.25  # line height / font size
MARGIN = 0.04  # margin / height of the sheet
_SURE = 1.05  # a line's width differs by less than this factor from that of its words and blanks
MOST_CHARACTERS = 20_000  # more than fits the largest sheet at the smallest type


def check_font(path: Path | None) -> None:
    """Raises InvalidInput unless ``path`` is a font, or None."""
    _font(path, LARGEST)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A text laid out on a sheet.

    Attributes:
        shape: (height, width) in px.
        lines: The text's.
        font: As ``lay_out`` takes it.
        size: Font size in px.
    """

    shape: tuple[int, int]
    lines: tuple[str, ...]
    font: Path | None
    size: int

    def draw(self) -> Image.Image:
        """Draws the text in black on white, as an RGB image."""
        height, width = self.shape
        sheet = Image.new("RGB", (width, height), "white")
        draw, face, margin = ImageDraw.Draw(sheet), _font(self.font, self.size), round(height * MARGIN)
        for number, line in enumerate(self.lines):
            place = (margin, margin + (number + 0.5) * self.size * SPACING)
            draw.text(place, line, fill="black", font=face, anchor="lm")
        return sheet


def lay_out(text: str, height: int, font: Path | None = None, check: Callable[[], None] = lambda: None) -> Sheet:
    """Lays a text out on a sheet, in the largest font size at which all of it fits.

    The time grows with the length of the text and no faster, whatever its words are.

    Args:
        text: What to draw; nothing of it is cut or left out.
        height: Height of the sheet in px.
        font: TrueType or OpenType file; None is Pillow's own font, which has Latin letters only.
        check: Called for each font size; may raise to end the work.

    Raises:
        InvalidInput: The text is empty, does not fit on one sheet, or has characters that the font lacks; or the font
            cannot be read.
    """
    if not text.strip():
        raise InvalidInput("the text is empty: leave it out")
    if len(text) > MOST_CHARACTERS:
        raise InvalidInput(f"text of {len(text):,} characters, at most {MOST_CHARACTERS:,}: split it")
    missing = _missing(text, _font(font, LARGEST))
    if missing:
        raise InvalidInput(f"the font has no {missing!r} (U+{ord(missing):04X}): render the text to an image yourself")
    width, margin = round(height * SHAPE), round(height * MARGIN)
    paragraphs = [_words(paragraph) for paragraph in text.splitlines()]
    for size in range(LARGEST, SMALLEST - 1, -1):
        check()
        face = _font(font, size)
        most = int((height - 2 * margin) / (size * SPACING))
        wrapped = (line for words in paragraphs for line in _wrap(words, face, width - 2 * margin))
        lines = tuple(islice(wrapped, most + 1))
        if len(lines) <= most:
            return Sheet((height, width), lines, font, size)
    raise InvalidInput(
        f"text of {len(text):,} characters fills over {most} lines at {SMALLEST} px, as many as a page of "
        f"{width} x {height} px holds: split it"
    )


def _font(path: Path | None, size: int) -> ImageFont.FreeTypeFont:
    try:
        font = ImageFont.load_default(size) if path is None else ImageFont.truetype(str(path), size)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read as a font ({error}): give a .ttf or .otf file") from None
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise InvalidInput("this Pillow was built without FreeType: install a wheel of it, or leave texts out")
    return font


def _missing(text: str, font: ImageFont.FreeTypeFont) -> str | None:
    """Returns the first character that the font lacks and would draw as a box, ignoring blanks and control characters.

    Returns None if the font has them all.
    """
    box = bytes(font.getmask("\U0010ffff"))
    for character in dict.fromkeys(text):
        if unicodedata.category(character)[0] not in "CZ" and bytes(font.getmask(character)) == box:
            return character
    return None


def _words(paragraph: str) -> list[str]:
    """Returns the words of a paragraph; control characters count as blanks."""
    return "".join(" " if unicodedata.category(sign)[0] == "C" else sign for sign in paragraph).split()


def _wrap(words: Sequence[str], font: ImageFont.FreeTypeFont, measure: int) -> Iterator[str]:
    """Breaks a paragraph at blanks into lines of at most ``measure`` px; longer words are broken at the line's end.

    Words are measured one by one and their widths added; a line is measured only where that sum, which knows no kerning
    with blanks, is too near to ``measure`` to decide. Of a word no more is measured than could fit.
    """
    line, width = "", 0.0  # without kerning
    blank = font.getlength(" ")
    for word in words:
        rest = word
        while rest:
            length = _fitting(rest, font, measure)
            wide = font.getlength(rest[:length])
            longer = width + blank + wide if line else wide
            if line and (
                length < len(rest)
                or longer > measure * _SURE
                or (longer > measure / _SURE and font.getlength(f"{line} {rest}") > measure)
            ):
                yield line
                line, width = "", 0.0
            elif length == len(rest):
                line, width, rest = f"{line} {rest}" if line else rest, longer, ""
            else:
                yield rest[:length]
                rest = rest[length:]
    yield line


def _fitting(word: str, font: ImageFont.FreeTypeFont, measure: int) -> int:
    """Returns how many characters of a word fit into a line, at least one: all, or as many as bisection finds."""
    known, tried = 0, 32  # characters that fit, and those tried next: twice as many each time
    while (end := min(tried, len(word))) > known and font.getlength(word[:end]) <= measure:
        known, tried = end, 2 * end
    if known == len(word):
        return known
    low, high = known, end
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if font.getlength(word[:middle]) <= measure else (low, middle)
    return max(1, low)
