"""The fonts that one text is drawn with: a main one, and others for the characters that it lacks."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from PIL import ImageDraw, ImageFont, features

from ziprerank.serve.font_files import IN_THE_BOX, FontFile, font_with, is_drawn, open_font, read_font

_NAMED = 3  # missing characters that a warning names
_FROM_THE_RIGHT = {"R", "AL"}  # bidirectional classes


@dataclass(frozen=True, slots=True)
class Fonts:
    """What a text is drawn with at any size.

    Attributes:
        main: Draws most characters, and a box for those that no font has.
        others: The font of each character that ``main`` lacks and another one has.
        missing: The characters that no font has, in the order of the text.
        from_the_right: Whether the text has letters that are written from right to left.
    """

    main: FontFile
    others: Mapping[str, FontFile] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    from_the_right: bool = False

    @classmethod
    def of(cls, text: str, path: Path | None = None) -> Fonts:
        """Finds the fonts of a text: the main one, then those of ``ZIPRERANK_FONTS``, then the system's.

        Args:
            text: What to draw.
            path: File of the main font; None is DejaVu Sans, which has Latin, Greek and Cyrillic.

        Raises:
            InvalidInput: The file is no font, or a folder of ``ZIPRERANK_FONTS`` does not exist.
        """
        main, others, missing, from_the_right = read_font(path or IN_THE_BOX), {}, [], False
        for character in dict.fromkeys(text):
            from_the_right = from_the_right or unicodedata.bidirectional(character) in _FROM_THE_RIGHT
            if character in main or not is_drawn(character):
                continue
            font = font_with(character)
            if font is None:
                missing.append(character)
            else:
                others[character] = font
        return cls(main, others, tuple(missing), from_the_right)

    def warnings(self) -> tuple[str, ...]:
        """Returns what the drawn text does not show as it is, a sentence for each reason."""
        said = []
        if self.missing:
            names = ", ".join(f"{one!r} (U+{ord(one):04X})" for one in self.missing[:_NAMED])
            more = f" and {len(self.missing) - _NAMED:,} more" if len(self.missing) > _NAMED else ""
            said.append(f"no font here has {names}{more}, drawn as boxes: the operator may install one, such as Noto")
        if self.from_the_right and not features.check("raqm"):
            said.append("letters that run from right to left are drawn from left to right: install libfribidi0")
        return tuple(said)


class Typeface:
    """Fonts at one size."""

    def __init__(self, fonts: Fonts, size: int) -> None:
        """Opens the main font. Raises InvalidInput if it cannot be read."""
        self._fonts = fonts
        self._size = size
        self._main = self._open(fonts.main)
        self._signs: dict[str, float] = {}  # widths of single characters: in mixed texts most parts are one

    def width(self, text: str) -> float:
        """Returns the width of a text in px."""
        if self._fonts.others.keys().isdisjoint(text):
            return self._main.getlength(text)
        return sum(self._width(font, part) for font, part in self._runs(text))

    def _width(self, font: ImageFont.FreeTypeFont, part: str) -> float:
        if len(part) > 1 or part.isspace():  # a blank is as wide as the font before it has it
            return font.getlength(part)
        if part not in self._signs:
            self._signs[part] = font.getlength(part)
        return self._signs[part]

    def draw(self, sheet: ImageDraw.ImageDraw, left: float, middle: float, text: str) -> None:
        """Draws a line in black.

        Args:
            sheet: What to draw on.
            left: Its beginning in px.
            middle: The middle of its height in px.
            text: Its words.
        """
        above, below = self._main.getmetrics()
        for font, part in self._runs(text):
            sheet.text((left, middle + (above - below) / 2), part, fill="black", font=font, anchor="ls")
            left += font.getlength(part)

    def _open(self, font: FontFile) -> ImageFont.FreeTypeFont:
        return open_font(font.path, font.number, self._size)

    def _runs(self, text: str) -> Iterator[tuple[ImageFont.FreeTypeFont, str]]:
        """Yields the parts of a line with the font of each; a blank belongs to what is before it."""
        others, before = self._fonts.others, self._fonts.main

        def font_of(character: str) -> FontFile:
            nonlocal before
            if not character.isspace():
                before = others.get(character, self._fonts.main)
            return before

        for font, part in groupby(text, font_of):
            yield self._open(font), "".join(part)
