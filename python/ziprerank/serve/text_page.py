"""A text as a page image, for requests that ask for it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ziprerank.errors import InvalidInput

SHAPE = 0.77  # width of the sheet, in heights; letter paper
LARGEST, SMALLEST = 20, 9  # pixels of type; below that, letters run together
SPACING = 1.25  # lines, in pixels of type
MARGIN = 0.04  # of the sheet's height
MOST_CHARACTERS = 20_000  # more than fits the largest sheet at the smallest type


def check_font(path: Path | None) -> None:
    """Raises InvalidInput unless ``path`` is a font, or None."""
    _font(path, LARGEST)


def draw_text(text: str, height: int, font: Path | None = None) -> Image.Image:
    """``text`` in black on a white sheet of ``height`` px, its type as large as lets all of it fit.

    ``font``: a TrueType or OpenType file; None is Pillow's own, which has Latin letters. Raises InvalidInput for a
    text that is empty, does not fit one sheet, or has characters that the font lacks: nothing is cut or left out.
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
            f"a page of {width} x {height} px has {most}: split it"
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
    """The first character that the font draws as its empty box, if any; blanks and controls are never drawn."""
    box = bytes(font.getmask("\U0010ffff"))
    for character in dict.fromkeys(text):
        if unicodedata.category(character)[0] not in "CZ" and bytes(font.getmask(character)) == box:
            return character
    return None


def _wrap(paragraph: str, font: ImageFont.FreeTypeFont, measure: int) -> Iterator[str]:
    """Lines at most ``measure`` px long, broken at blanks; a longer word is broken where the line ends."""
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
