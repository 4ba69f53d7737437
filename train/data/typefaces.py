"""Typefaces for synthetic documents: the families in font folders and PDF's base 14, their widths, line breaking.

Needs reportlab. A family is named after its files (``LiberationSans-BoldItalic.ttf`` is a face of ``LiberationSans``);
a face that is not there is replaced by the family's regular one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from reportlab.pdfbase import pdfmetrics  # type: ignore[import-untyped]
from reportlab.pdfbase.ttfonts import TTFError, TTFont  # type: ignore[import-untyped]
from ziprerank.train.errors import TrainError

# a text font has these; fonts of symbols claim ASCII for other shapes
LATIN = frozenset(map(chr, [*range(33, 127), *range(0xC0, 0x100)])) | set("–—‘’“”")
STYLES = {
    "regular": ("", "Regular", "Book", "Roman"),
    "bold": ("Bold",),
    "italic": ("Italic", "Oblique"),
    "both": ("BoldItalic", "BoldOblique"),
}


@dataclass(frozen=True)
class Family:
    """Four faces by the name they are registered under in reportlab, and what they can write.

    ``characters``: those that every face has a glyph for and that are written left to right, one glyph each.
    """

    name: str
    regular: str
    bold: str
    italic: str
    mono: bool
    characters: frozenset[str] = field(repr=False)


def _plain(character: str) -> bool:
    """Needs no shaping and no right-to-left order, and is not blank or a control."""
    return unicodedata.category(character)[0] not in "MCZ" and unicodedata.bidirectional(character) not in (
        "R",
        "AL",
        "AN",
    )


@cache
def base14() -> tuple[Family, ...]:
    """Times, Helvetica and Courier, which write Windows-1252."""
    characters = set()
    for code in range(33, 256):
        try:
            characters.add(bytes([code]).decode("cp1252"))
        except UnicodeDecodeError:  # five codes are not assigned
            continue
    writable = frozenset(filter(_plain, characters))
    return (
        Family("Times", "Times-Roman", "Times-Bold", "Times-Italic", False, writable),
        Family("Helvetica", "Helvetica", "Helvetica-Bold", "Helvetica-Oblique", False, writable),
        Family("Courier", "Courier", "Courier-Bold", "Courier-Oblique", True, writable),
    )


def _register(path: Path) -> frozenset[str]:
    """Registers one face under its file's stem; what it can write, empty where it lacks part of LATIN."""
    try:
        font = TTFont(path.stem, str(path))
    except TTFError:  # PostScript outlines and colour bitmaps, which reportlab cannot embed
        return frozenset()
    characters = frozenset(c for c in map(chr, font.face.charToGlyph) if _plain(c))
    if not characters >= LATIN:
        return frozenset()
    pdfmetrics.registerFont(font)
    return characters


@cache
def _families(folders: tuple[Path, ...]) -> tuple[Family, ...]:
    faces: dict[str, dict[str, Path]] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.ttf")):
            family, _, style = path.stem.partition("-")
            kind = next((kind for kind, names in STYLES.items() if style in names), None)
            if kind is not None:  # other weights would need a family of their own
                faces.setdefault(family, {}).setdefault(kind, path)
    found = []
    for name, files in sorted(faces.items()):
        if "regular" not in files:
            continue
        written = {kind: _register(files[kind]) for kind in ("regular", "bold", "italic") if kind in files}
        if not written["regular"]:
            continue
        usable = {kind: files[kind].stem for kind, characters in written.items() if characters}
        regular = usable["regular"]
        found.append(
            Family(
                name,
                regular,
                usable.get("bold", regular),
                usable.get("italic", regular),
                pdfmetrics.stringWidth("i", regular, 1) == pdfmetrics.stringWidth("M", regular, 1),
                frozenset.intersection(*filter(None, written.values())),
            )
        )
    return tuple(found)


def families(folders: Sequence[Path]) -> tuple[Family, ...]:
    """The TrueType families under ``folders`` that write western Latin, sorted by name. Read once a process.

    TrainError where a folder is missing or holds none.
    """
    for folder in folders:
        if not folder.is_dir():
            raise TrainError(f"no folder {folder}: give folders that hold .ttf files, or none for PDF's own base 14")
    found = _families(tuple(folders))
    if folders and not found:
        raise TrainError(
            f"no TrueType family with all of western Latin under {', '.join(map(str, folders))}: "
            "give other folders, or none for PDF's own base 14"
        )
    return found


class Widths:
    """Widths of words in points, remembered per face: one sum over glyphs per distinct word."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, float]] = {}

    def of(self, word: str, face: str, size: float) -> float:
        """Advance of ``word``, in points, in ``face`` of ``size`` points."""
        known = self._known.setdefault(face, {})
        width = known.get(word)
        if width is None:
            if len(known) > 100_000:  # about 15 MB a face
                known.clear()
            width = known[word] = pdfmetrics.stringWidth(word, face, 1000)
        return width * size / 1000

    def lines(self, words: Sequence[str], face: str, size: float, measure: float) -> Iterator[tuple[list[str], float]]:
        """Breaks ``words`` into lines at most ``measure`` points wide: (words, width with single spaces).

        Greedy. A word wider than a line is cut where the line ends, without a hyphen.
        """
        space = self.of(" ", face, size)
        line: list[str] = []
        filled = 0.0
        for word in words:
            width = self.of(word, face, size)
            if line and filled + space + width > measure:
                yield line, filled
                line, filled = [], 0.0
            while width > measure and len(word) > 1:
                cut = max(1, int(len(word) * measure / width))
                while cut > 1 and self.of(word[:cut], face, size) > measure:
                    cut -= 1
                yield [word[:cut]], self.of(word[:cut], face, size)
                word = word[cut:]  # noqa: PLW2901
                width = self.of(word, face, size)
            filled += width + (space if line else 0.0)
            line.append(word)
        if line:
            yield line, filled
