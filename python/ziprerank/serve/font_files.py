"""Font files: which characters each has, and which of those on this machine has a character."""

from __future__ import annotations

import os
import struct
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFont

from ziprerank.errors import InvalidInput
from ziprerank.inputs.fonts import font_folders

IN_THE_BOX = Path(__file__).parent / "fonts" / "DejaVuSans.ttf"
_KINDS = (".ttf", ".otf", ".ttc", ".otc")
_MOST_BYTES = 1 << 20  # of a table of characters; the largest of real fonts have 0.4 MB
SCRIPTS = {  # a letter that is typical of each
    **{"Latin": "A", "Greek": "Ω", "Cyrillic": "Я", "Armenian": "Ա", "Georgian": "ა", "Hebrew": "א", "Arabic": "ع"},
    **{"Devanagari": "अ", "Bengali": "অ", "Tamil": "அ", "Telugu": "అ", "Thai": "ก", "Khmer": "ក", "Ethiopic": "አ"},
    **{"Chinese, simplified": "发", "Chinese, traditional": "發", "Japanese": "の", "Korean": "송"},
}
_SLANTED = ("italic", "oblique")
_HEAVY = ("bold", "black", "heavy", "light", "thin", "medium", "condensed")


@dataclass(frozen=True, slots=True, eq=False)
class FontFile:
    """A font that can be drawn at any size.

    Attributes:
        path: The file.
        number: 0-based position in a collection (.ttc).
        ranges: Its characters, int64 [n, 2]: first and last code of each range, ascending.
    """

    path: Path
    number: int
    ranges: NDArray[np.int64]

    def __contains__(self, character: str) -> bool:
        code = ord(character)
        at = int(np.searchsorted(self.ranges[:, 0], code, "right")) - 1
        return at >= 0 and code <= self.ranges[at, 1]


@cache
def read_font(path: Path) -> FontFile:
    """Returns the (first) font of a file. Raises InvalidInput if it is none that can be drawn at any size."""
    try:
        for font in _fonts_of(path):
            return font
    except (OSError, struct.error, ValueError) as error:
        raise InvalidInput(f"{path} cannot be read as a font ({error}): give a .ttf or .otf file") from None
    raise InvalidInput(f"{path} has no outlines of characters: give another .ttf or .otf file")


@lru_cache(maxsize=1 << 16)
def font_with(character: str) -> FontFile | None:
    """Returns the first font of this machine that has a character, upright and of usual weight where there is one."""
    return next((font for font in _on_this_machine() if character in font), None)


def scripts_drawn() -> dict[str, bool]:
    """Returns for each script whether texts in it are drawn here with the default font, or one of this machine."""
    main = read_font(IN_THE_BOX)
    return {script: letter in main or font_with(letter) is not None for script, letter in SCRIPTS.items()}


@lru_cache(maxsize=64)
def open_font(path: Path, number: int, size: int) -> ImageFont.FreeTypeFont:
    """Returns a font to draw with. Raises InvalidInput if the file cannot be read.

    Args:
        path: The font's file.
        number: 0-based position in a collection.
        size: Font size in px.
    """
    try:
        return ImageFont.truetype(str(path), size, index=number)
    except ImportError:
        raise InvalidInput("this Pillow was built without FreeType: install a wheel of it, or send no texts") from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read as a font ({error}): give a .ttf or .otf file") from None


@cache
def _on_this_machine() -> tuple[FontFile, ...]:
    paths = [
        Path(place) / name
        for folder in font_folders()
        for place, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(_KINDS)
    ]
    fonts = []
    for path in sorted(paths, key=_preference):
        try:
            fonts += list(_fonts_of(path))
        except (OSError, struct.error, ValueError):
            continue  # a file that is no font draws nothing
    return tuple(fonts)


def _preference(path: Path) -> tuple[bool, bool, bool, str]:
    name = path.stem.lower()
    return any(word in name for word in _SLANTED), any(word in name for word in _HEAVY), "sans" not in name, name


def _fonts_of(path: Path) -> Iterator[FontFile]:
    """Yields the fonts of a file that have outlines, by the tables of OpenType.

    Raises:
        OSError: The file cannot be read.
        struct.error, ValueError: It is not in this format.
    """
    with path.open("rb") as file:

        def read(at: int, size: int) -> bytes:
            file.seek(at)
            data = file.read(size)
            if len(data) < size:
                raise ValueError("the file ends early")
            return data

        starts = [0]
        if read(0, 4) == b"ttcf":
            (count,) = struct.unpack(">I", read(8, 4))
            starts = list(struct.unpack(f">{min(count, 64)}I", read(12, 4 * min(count, 64))))
        elif read(0, 4) not in (b"\0\1\0\0", b"OTTO", b"true"):
            raise ValueError("it begins like no font")
        for number, start in enumerate(starts):
            (count,) = struct.unpack(">H", read(start + 4, 2))
            records = read(start + 12, 16 * count)
            tables = {name: (at, size) for name, _, at, size in struct.iter_unpack(">4sIII", records)}
            if not tables.keys() & {b"glyf", b"CFF ", b"CFF2"} or b"cmap" not in tables:
                continue
            at, size = tables[b"cmap"]
            ranges = _ranges(read(at, min(size, _MOST_BYTES)))
            if len(ranges):
                yield FontFile(path, number, ranges)


def _ranges(table: bytes) -> NDArray[np.int64]:
    """Returns the characters of a table ``cmap``, as ``FontFile.ranges``. Raises struct.error, ValueError."""
    (count,) = struct.unpack_from(">H", table, 2)
    found = {}
    for platform, encoding, at in struct.iter_unpack(">HHI", table[4 : 4 + 8 * count]):
        if platform == 0 or (platform, encoding) in ((3, 1), (3, 10)):
            found[struct.unpack_from(">H", table, at)[0]] = at
    if 12 in found:
        (groups,) = struct.unpack_from(">I", table, found[12] + 12)
        return np.frombuffer(table, ">u4", groups * 3, found[12] + 16).reshape(-1, 3)[:, :2].astype(np.int64)
    if 4 in found:
        return _ranges_of_format_4(table, found[4])
    return np.empty((0, 2), np.int64)


def _ranges_of_format_4(table: bytes, start: int) -> NDArray[np.int64]:
    (segments,) = struct.unpack_from(">H", table, start + 6)
    segments //= 2
    values = np.frombuffer(table, ">u2", (len(table) - start - 14) // 2, start + 14).astype(np.int64)
    last, first, delta, offset = (values[at : at + segments] for at in (0, *(segments * n + 1 for n in (1, 2, 3))))
    has = np.zeros(1 << 16, dtype=bool)
    for segment in range(segments):
        codes = np.arange(first[segment], last[segment] + 1)
        if offset[segment]:
            places = 3 * segments + 1 + segment + offset[segment] // 2 + codes - first[segment]
            glyphs = values[np.minimum(places, len(values) - 1)]
            has[codes[glyphs != 0]] = True
        else:
            has[codes[(codes + delta[segment]) & 0xFFFF != 0]] = True
    has[0xFFFF] = False
    edges = np.flatnonzero(np.diff(has, prepend=False, append=False))
    return np.stack([edges[::2], edges[1::2] - 1], axis=1)


def is_drawn(character: str) -> bool:
    """Tells whether a character is drawn by a glyph of its own; blanks and controls are not, nor what shapes others."""
    return unicodedata.category(character) not in ("Cc", "Cf", "Zl", "Zp", "Zs") and not is_selector(character)


def is_selector(character: str) -> bool:
    """Tells whether a character only chooses a variant of the glyph before it."""
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
