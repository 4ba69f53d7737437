"""Draws a text as a page image, for requests that set ``render_text``."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ziprerank.errors import InvalidInput

SHAPE = 0.77  # width / height of the sheet, as of letter paper
LARGEST, SMALLEST = 20, 9  # font sizes in px; letters smaller than that run together
SPACING = 1.25  # line height / font size
MARGIN = 0.04  # margin / height of the sheet
MOST_CHARACTERS = 20_000  # more than fits the largest sheet at the smallest type


def check_font(path: Path | None) -> None:
    """Raises InvalidInput unless ``path`` is a font, or None."""
    _font(path, LARGEST)


def draw_text(text: str, height: int, font: Path | None = None) -> Image.Image:
    """Draws a text in black on a white sheet, in the largest font size at which all of it fits.

    Args:
        text: What to draw; nothing of it is cut or left out.
        height: Height of the sheet in px.
        font: TrueType or OpenType file; None is Pillow's own font, which has Latin letters only.

    Returns:
        An RGB image.

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
    for size in range(LARGEST, SMALLEST - 1, -1):
        face = _font(font, size)
        most = int((height - 2 * margin) / (size * SPACING))
        lines = [line for paragraph in text.splitlines() for line in _wrap(paragraph, face, width - 2 * margin)]
        if len(lines) <= most:
            break
    else:
        raise InvalidInput(
            f"text of {len(text):,} characters fills {len(lines)} lines at {SMALLEST} px, "
            f"a page of {width} x {height} px holds {most}: split it"
        )
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        draw.text((margin, margin + (number + 0.5) * size * SPACING), line, fill="black", font=face, anchor="lm")
    return sheet


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


def _wrap(paragraph: str, font: ImageFont.FreeTypeFont, measure: int) -> Iterator[str]:
    """Breaks a paragraph at blanks into lines of at most ``measure`` px; longer words are broken at the line's end."""
    line = ""
    for word in "".join(" " if unicodedata.category(sign)[0] == "C" else sign for sign in paragraph).split():
        rest = word
        while rest:
            longer = f"{line} {rest}" if line else rest
            if font.getlength(longer) <= measure:
                line, rest = longer, ""
            elif line:
                yield line
                line = ""
            else:
                fits = next((n for n in range(len(rest) - 1, 1, -1) if font.getlength(rest[:n]) <= measure), 1)
                yield rest[:fits]
                rest = rest[fits:]
    yield line
