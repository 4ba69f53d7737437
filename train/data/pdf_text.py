"""A PDF page as a picture, and its text: every character with its box in pixels of that picture."""

from __future__ import annotations

import ctypes
import unicodedata
from dataclasses import dataclass

import numpy as np
import pypdfium2 as pdfium  # type: ignore[import-untyped]
import pypdfium2.raw as pdfium_c  # type: ignore[import-untyped]
from numpy.typing import NDArray

_WHITE = 0xFFFFFFFF
_FINE = 1024  # parts of a pixel: PDFium maps to whole units
_FAR = 1000  # points between the places that are mapped
_HYPHEN = 2  # what PDFium reports for a hyphen at the end of a line


@dataclass(frozen=True, slots=True)
class Word:
    """A run of characters without a space on one line; ``boxes [len(text), 4]`` f32: left, top, right, bottom in px."""

    text: str
    boxes: NDArray[np.float32]


def render(page: pdfium.PdfPage, height: int, width: int) -> NDArray[np.uint8]:
    """The page over white in grey, ``[height, width]`` uint8, stretched to exactly that size."""
    pixels: NDArray[np.uint8] = np.empty((height, width), dtype=np.uint8)
    bitmap = pdfium_c.FPDFBitmap_CreateEx(width, height, pdfium_c.FPDFBitmap_Gray, pixels.ctypes.data, width)
    try:
        pdfium_c.FPDFBitmap_FillRect(bitmap, 0, 0, width, height, _WHITE)
        pdfium_c.FPDF_RenderPageBitmap(bitmap, page.raw, 0, 0, width, height, 0, pdfium_c.FPDF_ANNOT)
    finally:
        pdfium_c.FPDFBitmap_Destroy(bitmap)
    return pixels


def words(page: pdfium.PdfPage, height: int, width: int) -> list[Word]:
    """The page's words in reading order of the file, boxes in pixels of a picture of ``height`` x ``width``.

    Boxes are PDFium's loose ones: as high as the font, so all letters of a line are equally high. A ligature is
    taken apart; its letters share its box. Text that does not run from left to right falls into its letters.
    """
    (ax, bx, cx), (ay, by, cy) = _to_pixels(page, height, width)
    textpage = page.get_textpage()
    raw = textpage.raw
    found: list[Word] = []
    letters: list[str] = []
    boxes: list[tuple[float, float, float, float]] = []

    def close() -> None:
        if letters:
            found.append(Word("".join(letters), np.array(boxes, dtype=np.float32)))
            letters.clear()
            boxes.clear()

    box = pdfium_c.FS_RECTF()
    box_pointer = ctypes.byref(box)
    for index in range(pdfium_c.FPDFText_CountChars(raw)):
        code = pdfium_c.FPDFText_GetUnicode(raw, index)
        if code <= 32 or code in (0xA0, 0xFFFE) or 0xD800 <= code < 0xE000:
            close()
            if code != _HYPHEN:
                continue
            code = ord("-")
        if not pdfium_c.FPDFText_GetLooseCharBox(raw, index, box_pointer):
            continue
        left, right = sorted((ax * box.left + bx * box.bottom + cx, ax * box.right + bx * box.top + cx))
        top, bottom = sorted((ay * box.left + by * box.bottom + cy, ay * box.right + by * box.top + cy))
        if boxes and (left < boxes[-1][0] - 1 or abs(bottom - boxes[-1][3]) > 0.5 * (bottom - top)):
            close()  # the next line, or another column
        for letter in unicodedata.normalize("NFKC", chr(code)):
            if not letter.isspace():
                letters.append(letter)
                boxes.append((left, top, right, bottom))
    close()
    textpage.close()
    return found


def _to_pixels(page: pdfium.PdfPage, height: int, width: int) -> list[tuple[float, float, float]]:
    """(a, b, c) for each axis of the picture, so that ``a * x + b * y + c`` px is where (x, y) points of the page lie.

    Text is placed in the page's own coordinates, which its rotation and crop box do not touch; of a and b one is 0.
    """

    def place(x: float, y: float) -> tuple[float, float]:
        across, down = ctypes.c_int(), ctypes.c_int()
        pdfium_c.FPDF_PageToDevice(
            page.raw, 0, 0, width * _FINE, height * _FINE, 0, x, y, ctypes.byref(across), ctypes.byref(down)
        )
        return across.value / _FINE, down.value / _FINE

    corners = place(0, 0), place(_FAR, 0), place(0, _FAR)
    return [((x - origin) / _FAR, (y - origin) / _FAR, origin) for origin, x, y in zip(*corners, strict=True)]
