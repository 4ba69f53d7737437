"""The text layer of a PDF's page, where it can stand for what the page shows."""

from __future__ import annotations

import unicodedata

import pypdfium2 as pdfium  # type: ignore[import-untyped]
import pypdfium2.raw as pdfium_c  # type: ignore[import-untyped]

MOST_CHARACTERS = 50_000  # of a page; a dense page of a journal has 8,000
FEW_WORDS = 30  # on a picture that fills most of the page they may be a stamp, as archives put on each page of a scan
_FILLS = 0.5  # of the page's area
_UNREADABLE = 0.3  # share of characters without meaning, as fonts without a table of characters give


def page_text(page: pdfium.PdfPage) -> str | None:
    """Returns the page's text, "" for an empty page, or None if the page shows what its text layer does not say.

    That is a page without words that draws something, a picture over most of the page beside few words, and text of
    fonts that do not say which characters they draw. The caller holds PDFium's lock.
    """
    layer = page.get_textpage()
    try:
        count = min(layer.count_chars(), MOST_CHARACTERS)
        text = str(layer.get_text_range(0, count)) if count > 0 else ""
    finally:
        layer.close()
    words = len(text.split())
    if words == 0:
        return None if _draws(page) else ""
    if _unreadable(text) or (words < FEW_WORDS and _is_picture(page)):
        return None
    return text


def _draws(page: pdfium.PdfPage) -> bool:
    return bool(pdfium_c.FPDFPage_CountObjects(page) > 0 or pdfium_c.FPDFPage_GetAnnotCount(page) > 0)


def _is_picture(page: pdfium.PdfPage) -> bool:
    width, height = page.get_size()
    for picture in page.get_objects(filter=[pdfium_c.FPDF_PAGEOBJ_IMAGE], max_depth=3):
        left, bottom, right, top = picture.get_bounds()
        if (right - left) * (top - bottom) > _FILLS * width * height:
            return True
    return False


def _unreadable(text: str) -> bool:
    letters = [one for one in text if not one.isspace() and one != "\ufffe"]  # PDFium's mark of a broken word
    lost = sum(one == "\ufffd" or unicodedata.category(one) in ("Co", "Cn", "Cc") for one in letters)
    return lost > _UNREADABLE * len(letters)
