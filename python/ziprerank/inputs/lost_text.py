"""Finds text that a rendered PDF page does not show, because no font for it is in the PDF or on this machine.

PDFium draws nothing for a character without a glyph. Ordinary pages embed their fonts, which a walk over the page's
objects shows; pages that do not but hold Latin letters only are told by their text. Only what is left is looked at
character by character: no outline in the font that stands in, and nothing in the pixels where the character lies.
"""

from __future__ import annotations

import ctypes
import unicodedata
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pypdfium2 as pdfium  # type: ignore[import-untyped]
import pypdfium2.raw as pdfium_c  # type: ignore[import-untyped]
from numpy.typing import NDArray

MOST_OBJECTS = 50_000  # of a page; what lies beyond is not looked at
MOST_CHARACTERS = 200_000
FEWEST = 3  # lost characters, if they are less than a fifth of the page's
CONTRAST = 48  # levels of difference that make a character visible

_NAMES = {"CJK": "Chinese or Japanese", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean"}
# what the fonts in PDFium have: ASCII, Latin-1, and the rest of Windows' code page 1252
_LATIN = np.zeros(1 << 16, dtype=np.bool_)
_LATIN[:0x100] = True
_LATIN[[ord(sign) for sign in bytes(range(0x80, 0xA0)).decode("cp1252", "ignore")]] = True
_LATIN[0] = False

_Handle = ctypes.c_void_p


def _function(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """Returns a function of PDFium that takes and returns handles as plain integers, which is twice as fast."""
    address = ctypes.cast(getattr(pdfium_c, name), ctypes.c_void_p).value
    assert address is not None
    return ctypes.PYFUNCTYPE(result, *arguments)(address)


_count_objects = _function("FPDFPage_CountObjects", ctypes.c_int, _Handle)
_object = _function("FPDFPage_GetObject", _Handle, _Handle, ctypes.c_int)
_count_inner = _function("FPDFFormObj_CountObjects", ctypes.c_int, _Handle)
_inner = _function("FPDFFormObj_GetObject", _Handle, _Handle, ctypes.c_ulong)
_kind = _function("FPDFPageObj_GetType", ctypes.c_int, _Handle)
_font = _function("FPDFTextObj_GetFont", _Handle, _Handle)
_embedded = _function("FPDFFont_GetIsEmbedded", ctypes.c_int, _Handle)
_text_object = _function("FPDFText_GetTextObject", _Handle, _Handle, ctypes.c_int)
_unicode = _function("FPDFText_GetUnicode", ctypes.c_uint, _Handle, ctypes.c_int)


def lost_text(page: pdfium.PdfPage, pixels: NDArray[np.uint8]) -> tuple[str, ...]:
    """Returns a warning if the pixels do not show some of the page's text, else nothing.

    Args:
        page: The open page, which the caller may use.
        pixels: [h, w, 3] uint8, the whole page as PDFium rendered it.
    """
    handle = ctypes.cast(page.raw, ctypes.c_void_p).value
    fonts = _fonts_of(handle)
    if not fonts:
        return ()
    blank = _is_blank(pixels)
    suspects = fonts if blank else {font for font in fonts if _embedded(font) != 1}
    if not suspects:
        return ()
    text = pdfium_c.FPDFText_LoadPage(page)
    if not text:
        return ()
    try:
        count = min(pdfium_c.FPDFText_CountChars(text), MOST_CHARACTERS)
        if not blank and _all_latin(text, count):
            return ()
        return _Search(page, text, pixels, suspects).warnings(count)
    finally:
        pdfium_c.FPDFText_ClosePage(text)


def _fonts_of(page: int | None) -> set[int]:
    """Handles of the fonts of all text objects, also inside form objects."""
    fonts: set[int] = set()
    waiting: list[tuple[Callable[..., int | None], int | None, int]] = [(_object, page, _count_objects(page))]
    seen = 0
    while waiting and seen < MOST_OBJECTS:
        get, parent, count = waiting.pop()
        for place in range(min(count, MOST_OBJECTS - seen)):
            seen += 1
            found = get(parent, place)
            font = _font(found)
            if font:
                fonts.add(font)
            elif _kind(found) == pdfium_c.FPDF_PAGEOBJ_FORM:
                waiting.append((_inner, found, _count_inner(found)))
    return fonts


def _is_blank(pixels: NDArray[np.uint8]) -> bool:
    """Whether the page is of one colour; one channel of every 32nd row tells most pages that are not."""
    sample = pixels[::32, :, 1]
    return int(sample.max()) - int(sample.min()) < CONTRAST and _flat(pixels)


def _flat(area: NDArray[np.uint8]) -> bool:
    """Whether no channel of an area [h, w, 3] varies as much as a visible character would."""
    if area.size == 0:
        return True
    lowest, highest = area.min(axis=(0, 1)).astype(int), area.max(axis=(0, 1)).astype(int)
    return bool((highest - lowest).max() < CONTRAST)


def _all_latin(text: Any, count: int) -> bool:
    """Whether each of the page's characters is one that every stand-in has."""
    units = np.zeros(count + 1, dtype=np.uint16)
    pointer = units.ctypes.data_as(ctypes.POINTER(ctypes.c_ushort))
    written = pdfium_c.FPDFText_GetText(text, 0, count, pointer)
    return written > count and bool(_LATIN[units[:count]].all())  # it leaves characters without Unicode out


class _Search:
    """Goes through the characters of a page."""

    def __init__(self, page: pdfium.PdfPage, text: Any, pixels: NDArray[np.uint8], suspects: set[int]) -> None:
        self._page = page
        self._text = text
        self._handle = ctypes.cast(text, ctypes.c_void_p).value
        self._pixels = pixels
        self._suspects = suspects
        self._outlines: dict[tuple[int, int], bool] = {}
        self._colours: dict[int, tuple[int, int, int] | None] = {}

    def warnings(self, count: int) -> tuple[str, ...]:
        lost: list[tuple[int, int]] = []  # font and character
        visible = 0
        for place in range(count):
            sign = _unicode(self._handle, place)
            if sign and _shows_nothing(sign):
                continue
            found = _text_object(self._handle, place)
            font = _font(found) if found else None
            if font is None:
                continue
            visible += 1
            if font in self._suspects and self._is_lost(place, found, font, sign):
                lost.append((font, sign))
        if not lost or (len(lost) < FEWEST and 5 * len(lost) < visible):
            return ()
        return (_sentence(lost, visible),)

    def _is_lost(self, place: int, found: int, font: int, sign: int) -> bool:
        if self._has_outline(font, sign):
            return False
        colour = self._colour(found)
        if colour is None:
            return False
        area = self._area(place)
        if area.size == 0 or not _flat(area):
            return False
        paper = area.reshape(-1, 3).mean(axis=0)
        if np.abs(paper - colour).max() < CONTRAST:
            return False  # it would be as white as the paper
        return not self._clipped(place, found)

    def _has_outline(self, font: int, sign: int) -> bool:
        if (font, sign) not in self._outlines:
            outline = None
            if _embedded(font) != 1:  # a damaged font in the PDF has no say: its characters are judged by the pixels
                outline = pdfium_c.FPDFFont_GetGlyphPath(_typed(font, pdfium_c.FPDF_FONT), sign, 10.0)
            self._outlines[font, sign] = bool(outline) and pdfium_c.FPDFGlyphPath_CountGlyphSegments(outline) > 0
        return self._outlines[font, sign]

    def _colour(self, found: int) -> tuple[int, int, int] | None:
        """RGB in which the text object is drawn, or None if it is invisible, like the text that OCR lays on a scan."""
        if found not in self._colours:
            typed = _typed(found, pdfium_c.FPDF_PAGEOBJECT)
            mode = pdfium_c.FPDFTextObj_GetTextRenderMode(typed)
            get = pdfium_c.FPDFPageObj_GetFillColor
            if mode in (pdfium_c.FPDF_TEXTRENDERMODE_STROKE, pdfium_c.FPDF_TEXTRENDERMODE_STROKE_CLIP):
                get = pdfium_c.FPDFPageObj_GetStrokeColor
            parts = [ctypes.c_uint(0) for _ in range(4)]
            hidden = mode in (pdfium_c.FPDF_TEXTRENDERMODE_INVISIBLE, pdfium_c.FPDF_TEXTRENDERMODE_CLIP)
            if hidden or not get(typed, *parts) or parts[3].value < CONTRAST or _optional(typed):
                self._colours[found] = None
            else:
                self._colours[found] = (parts[0].value, parts[1].value, parts[2].value)
        return self._colours[found]

    def _area(self, place: int) -> NDArray[np.uint8]:
        """The pixels in the middle of a character's box, where no rule or underline runs; empty outside of the page."""
        box = self._box(place)
        height, width = self._pixels.shape[:2]
        corners = []
        for x, y in ((box.left, box.bottom), (box.right, box.top)):
            at = (ctypes.c_int(), ctypes.c_int())
            pdfium_c.FPDF_PageToDevice(self._page, 0, 0, width, height, 0, x, y, *at)
            corners.append((at[0].value, at[1].value))
        columns, rows = (sorted(pair) for pair in zip(*corners, strict=True))
        inset = (columns[1] - columns[0]) // 6, (rows[1] - rows[0]) // 4
        left, right = columns[0] + inset[0], columns[1] - inset[0] + 1
        top, bottom = rows[0] + inset[1], rows[1] - inset[1] + 1
        return self._pixels[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]

    def _box(self, place: int) -> Any:
        box = pdfium_c.FS_RECTF()
        pdfium_c.FPDFText_GetLooseCharBox(self._text, place, box)
        return box

    def _clipped(self, place: int, found: int) -> bool:
        """Whether a path that clips the text object leaves the character out."""
        clip = pdfium_c.FPDFPageObj_GetClipPath(_typed(found, pdfium_c.FPDF_PAGEOBJECT))
        box = self._box(place)
        for path in range(max(0, pdfium_c.FPDFClipPath_CountPaths(clip))):
            points = []
            for number in range(max(0, pdfium_c.FPDFClipPath_CountPathSegments(clip, path))):
                at = (ctypes.c_float(), ctypes.c_float())
                if pdfium_c.FPDFPathSegment_GetPoint(pdfium_c.FPDFClipPath_GetPathSegment(clip, path, number), *at):
                    points.append((at[0].value, at[1].value))
            if points:
                across, up = zip(*points, strict=True)
                if box.right <= min(across) or box.left >= max(across) or box.top <= min(up) or box.bottom >= max(up):
                    return True
        return False


def _optional(typed: Any) -> bool:
    """Whether a text object belongs to a layer, which may be switched off."""
    for number in range(max(0, pdfium_c.FPDFPageObj_CountMarks(typed))):
        name = (ctypes.c_ushort * 8)()
        length = ctypes.c_ulong()
        pdfium_c.FPDFPageObjMark_GetName(pdfium_c.FPDFPageObj_GetMark(typed, number), name, ctypes.sizeof(name), length)
        if bytes(name).decode("utf-16-le").rstrip("\0") == "OC":
            return True
    return False


def _typed(handle: int, kind: Any) -> Any:
    return ctypes.cast(handle, kind)


def _shows_nothing(sign: int) -> bool:
    """Whether a character is a blank or controls others."""
    return unicodedata.category(chr(sign)) in ("Zs", "Zl", "Zp", "Cc", "Cf") if sign < 0x110000 else False


def _sentence(lost: list[tuple[int, int]], visible: int) -> str:
    scripts = Counter(_script(sign) for _, sign in lost)
    names = sorted({_font_name(font) for font, _ in lost})
    told = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    shown = ", ".join(name for name, _ in scripts.most_common(3))
    count = (
        f"text is missing: {len(lost):,} of the page's {visible:,} characters are not drawn ({shown}), because their"
    )
    if all(_embedded(font) == 1 for font, _ in lost):
        return f"{count} fonts ({told}) cannot be read: save the PDF again with other fonts"
    return (
        f"{count} fonts ({told}) are neither in the PDF nor on this machine: embed them, or install some; "
        "ziprerank doctor lists the scripts that are drawn"
    )


def _script(sign: int) -> str:
    if not 0 < sign < 0x110000:
        return "characters without Unicode"
    first = unicodedata.name(chr(sign), "other").split()[0]
    return _NAMES.get(first, first.capitalize())


def _font_name(font: int) -> str:
    typed = _typed(font, pdfium_c.FPDF_FONT)
    length = pdfium_c.FPDFFont_GetBaseFontName(typed, None, 0)
    name = ctypes.create_string_buffer(length + 1)
    pdfium_c.FPDFFont_GetBaseFontName(typed, name, length)
    return name.value.decode("utf-8", "replace") or "without a name"
