"""Reads PDF documents with pypdfium2: page sizes, and pages rendered straight at their final size.

PDFium is not thread-safe, not even over different documents, so every call runs under ``PDFIUM_LOCK``. At most
``_MAX_OPEN`` documents are kept open, so that a thousand files do not use up the process's file handles.
"""

from __future__ import annotations

import ctypes
import threading
from collections import OrderedDict
from pathlib import Path

import pypdfium2 as pdfium  # type: ignore[import-untyped]
import pypdfium2.raw as pdfium_c  # type: ignore[import-untyped]

from ziprerank.errors import PageError
from ziprerank.inputs.sizes import Size

_MAX_OPEN = 16
_WHITE = 0xFFFFFFFF
_PASSWORD_ERROR = 4  # FPDF_ERR_PASSWORD

PDFIUM_LOCK = threading.RLock()
"""held around every call of PDFium in this process; an application that calls PDFium itself holds it too, where pages
are rendered in this process (``page_workers="off"``)"""


class PdfFile:
    """One PDF, from a path or from bytes. Page numbers are 1-based, as in every error."""

    def __init__(
        self, data: Path | bytes | ctypes.Array[ctypes.c_char], *, name: str, password: str | None = None
    ) -> None:
        """Opens the document. Raises PageError when it is damaged, encrypted or has no page."""
        self.name = name
        self._data = data
        self._password = password
        with PDFIUM_LOCK:
            self.pages = len(_open(self))
        if self.pages < 1:
            self.close()
            raise PageError("the PDF has no pages", source=name)

    def page_points(self, page: int) -> tuple[float, float]:
        """Returns (height, width) in points of the page as it is shown, cropped and rotated. Raises PageError.

        The page's content is not parsed, so that opening a long document takes no time for each of its pages.
        """
        with PDFIUM_LOCK:
            try:
                width, height = _open(self).get_page_size(page - 1)
            except pdfium.PdfiumError:  # loading the page finds its size, or says what is wrong
                shown = self._page(page)
                try:
                    width, height = shown.get_size()
                finally:
                    shown.close()
        return height, width

    def labels(self) -> list[str]:
        """Returns each page's printed label, such as ``"iv"`` or ``"A-3"``, or its number where the PDF has none."""
        with PDFIUM_LOCK:
            document = _open(self)
            return [document.get_page_label(page) or str(page + 1) for page in range(self.pages)]

    def prepare(self, page: int, size: Size, into: memoryview) -> tuple[str, ...]:
        """Renders the page over white and returns warnings about it, each a sentence that names no page.

        Args:
            page: The page.
            size: (height, width) of the rendering in px.
            into: Takes it, as RGB [h, w, 3] uint8.

        Raises:
            PageError: The page is damaged.
        """
        height, width = size
        with PDFIUM_LOCK:
            shown = self._page(page)
            try:
                address = ctypes.addressof(ctypes.c_char.from_buffer(into))
                bitmap = pdfium_c.FPDFBitmap_CreateEx(width, height, pdfium_c.FPDFBitmap_BGR, address, width * 3)
                if not bitmap:
                    raise PageError(f"no bitmap of {width} x {height} px", source=self.name, page=page)
                try:
                    _paint(bitmap, shown, width, height)
                finally:
                    pdfium_c.FPDFBitmap_Destroy(bitmap)
            finally:
                shown.close()
        return ()

    def close(self) -> None:
        """Closes the document; it is opened again when a page is asked for."""
        with PDFIUM_LOCK:
            document = _OPEN.pop(self, None)
            if document is not None:
                document.close()

    def _page(self, page: int) -> pdfium.PdfPage:
        document = _open(self)
        try:
            return document[page - 1]
        except (pdfium.PdfiumError, IndexError) as error:
            raise PageError(f"the page is damaged: {error}", source=self.name, page=page) from error


_OPEN: OrderedDict[PdfFile, pdfium.PdfDocument] = OrderedDict()


def _open(file: PdfFile) -> pdfium.PdfDocument:
    """The open document of ``file``; the caller holds the lock."""
    if file in _OPEN:
        _OPEN.move_to_end(file)
        return _OPEN[file]
    try:
        document = pdfium.PdfDocument(file._data, password=file._password)
    except pdfium.PdfiumError as error:
        if error.err_code == _PASSWORD_ERROR:
            reason = "the PDF is encrypted" if file._password is None else "the password does not open this PDF"
            raise PageError(f"{reason}: pass its password with Pdf(..., password=...)", source=file.name) from error
        raise PageError(f"the PDF is damaged or empty: {error}", source=file.name) from error
    if document.get_formtype() != pdfium_c.FORMTYPE_NONE:
        document.init_forms()
    _OPEN[file] = document
    while len(_OPEN) > _MAX_OPEN:
        _, oldest = _OPEN.popitem(last=False)
        oldest.close()
    return document


def _paint(bitmap: pdfium_c.FPDF_BITMAP, page: pdfium.PdfPage, width: int, height: int) -> None:
    """White, then the page stretched to the whole bitmap, then its form fields. REVERSE_BYTE_ORDER gives RGB."""
    flags = pdfium_c.FPDF_ANNOT | pdfium_c.FPDF_REVERSE_BYTE_ORDER
    pdfium_c.FPDFBitmap_FillRect(bitmap, 0, 0, width, height, _WHITE)
    pdfium_c.FPDF_RenderPageBitmap(bitmap, page.raw, 0, 0, width, height, 0, flags)
    if page.formenv is not None:
        pdfium_c.FPDF_FFLDraw(page.formenv.raw, bitmap, page.raw, 0, 0, width, height, 0, flags)
