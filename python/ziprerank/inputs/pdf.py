"""Reads PDF documents with pypdfium2: page sizes, and pages rendered straight at their final size.

PDFium is not thread-safe, not even over different documents, so every call runs under ``PDFIUM_LOCK``. At most
``_MAX_OPEN`` documents are kept open, so that a thousand files do not use up the process's file handles.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium  # type: ignore[import-untyped]
import pypdfium2.raw as pdfium_c  # type: ignore[import-untyped]

from ziprerank.errors import PASSWORD_WAY, PageError
from ziprerank.inputs.fonts import use_font_folders
from ziprerank.inputs.lost_text import lost_text
from ziprerank.inputs.page_text import page_text
from ziprerank.inputs.pdf_password import password_bytes
from ziprerank.inputs.pdf_repair import mended_pdf
from ziprerank.inputs.sizes import Size
from ziprerank.inputs.user_unit import user_units
from ziprerank.runtime.threads import finish_jobs

_MAX_OPEN = 16
_WHITE = 0xFFFFFFFF
_ending = threading.Event()
_CODES = {pdfium_c.FPDF_ERR_FILE: "the file cannot be read", pdfium_c.FPDF_ERR_FORMAT: "it is not in the format of PDF"}
_MOST_MENDED = 256 << 20  # bytes of a file that is read whole to be mended
_EVERYWHERE = -1e6, -1e6, 1e6, 1e6  # a crop box that leaves the whole media box
_MENDED = "the PDF has no usable header or trailer, so its pages were searched for, and some may be missing"
_XFA = "the PDF is an XFA form, which is not filled in: its static pages are ranked"

PDFIUM_LOCK = threading.RLock()
"""held around every call of PDFium in this process; an application that calls PDFium itself holds it too, where pages
are rendered in this process (``page_workers="off"``)"""
# A fork waits for the call under way, so that no child has PDFium in the middle of something, and its lock taken.
os.register_at_fork(before=PDFIUM_LOCK.acquire, after_in_parent=PDFIUM_LOCK.release, after_in_child=PDFIUM_LOCK.release)


class PdfFile:
    """One PDF, from a path or from bytes. Page numbers are 1-based, as in every error."""

    def __init__(self, data: Path | bytes, *, name: str, password: str | None = None) -> None:
        """Opens the document. Raises PageError when it is damaged, encrypted or has no page."""
        self.name = name
        self._data = data
        self._password = password
        self._mended: bytes | None = None
        self._units: dict[int, float] | None = None
        self._notes: tuple[str, ...] = ()
        with PDFIUM_LOCK:
            self.pages = len(_open(self))
        if self.pages < 1:
            self.close()
            raise PageError("the PDF has no pages", source=name)

    def page_points(self, page: int) -> tuple[float, float]:
        """Returns (height, width) in points of the page as it is shown, cropped and rotated. Raises PageError.

        The page's content is not parsed, so that opening a long document takes no time for each of its pages. The
        media box stands in for a crop box that lies outside of it.
        """
        with PDFIUM_LOCK:
            document = _open(self)
            try:
                width, height = document.get_page_size(page - 1)
            except pdfium.PdfiumError:  # loading the page finds its size, or says what is wrong
                width = height = 0.0
            if not (width > 0 and height > 0):
                shown = self._page(page)
                try:
                    width, height = shown.get_size()
                finally:
                    shown.close()
            if self._units is None:
                self._units = user_units(document, self._data if self._mended is None else self._mended)
            unit = self._units.get(page - 1, 1.0)
        return height * unit, width * unit

    def labels(self) -> list[str]:
        """Returns each page's printed label, such as ``"iv"`` or ``"A-3"``, or its number where the PDF has none."""
        with PDFIUM_LOCK:
            document = _open(self)
            return [document.get_page_label(page) or str(page + 1) for page in range(self.pages)]

    def render(self, page: int, size: Size, into: memoryview, *, warn: bool) -> tuple[str, ...]:
        """Renders the page over white.

        Args:
            page: The page.
            size: (height, width) of the rendering in px.
            into: Takes it, as RGB [h, w, 3] uint8.
            warn: Whether to look for what it does not show.

        Returns:
            Warnings, each a sentence that names no page.

        Raises:
            PageError: The page is damaged.
        """
        height, width = size
        pixels = np.frombuffer(into, dtype=np.uint8).reshape(height, width, 3)
        with PDFIUM_LOCK:
            shown = self._page(page)
            try:
                bitmap = pdfium_c.FPDFBitmap_CreateEx(
                    width, height, pdfium_c.FPDFBitmap_BGR, pixels.ctypes.data, width * 3
                )
                if not bitmap:
                    raise PageError(f"no bitmap of {width} x {height} px", source=self.name, page=page)
                try:
                    _paint(bitmap, shown, width, height)
                finally:
                    pdfium_c.FPDFBitmap_Destroy(bitmap)
                return (*self._notes, *lost_text(shown, pixels)) if warn else ()
            finally:
                shown.close()

    def text(self, page: int) -> str | None:
        """Returns the page's text where it stands for the page (``page_text.py``). Raises PageError."""
        with PDFIUM_LOCK:
            shown = self._page(page)
            try:
                return page_text(shown)
            except pdfium.PdfiumError:
                return None
            finally:
                shown.close()

    def close(self) -> None:
        """Closes the document; it is opened again when a page is asked for."""
        with PDFIUM_LOCK:
            document = _OPEN.pop(self, None)
            if document is not None:
                document.close()

    def _page(self, page: int) -> pdfium.PdfPage:
        document = _open(self)
        try:
            shown = document[page - 1]
        except (pdfium.PdfiumError, IndexError) as error:
            raise PageError(f"the page is damaged: {error}", source=self.name, page=page) from error
        if 0 in shown.get_size():
            shown.set_cropbox(*_EVERYWHERE)
        return shown


_OPEN: OrderedDict[PdfFile, pdfium.PdfDocument] = OrderedDict()


@cache
def _watch_end() -> None:
    """Has the end of the interpreter wait for the call under way, and then keep the lock from other threads.

    pypdfium2 closes its documents and PDFium in handlers of its own, the last of which it registers with the first
    document. Those that are registered later run earlier.
    """

    def end() -> None:
        finish_jobs()  # which need the lock
        PDFIUM_LOCK.acquire()
        _ending.set()

    atexit.register(end)


def _open(file: PdfFile) -> pdfium.PdfDocument:
    """The open document of ``file``; the caller holds the lock."""
    if _ending.is_set():
        raise PageError("the program is at its end, and PDFium is closed: rank PDFs before", source=file.name)
    if file in _OPEN:
        _OPEN.move_to_end(file)
        return _OPEN[file]
    use_font_folders()
    try:
        document = _load(file)
    except pdfium.PdfiumError as error:
        if error.err_code == pdfium_c.FPDF_ERR_PASSWORD:
            reason = "the PDF is encrypted" if file._password is None else "the password does not open this PDF"
            raise PageError(f"{reason}: pass its password {PASSWORD_WAY}", source=file.name) from error
        if error.err_code == pdfium_c.FPDF_ERR_SECURITY:
            reason = "the PDF is encrypted in a way that PDFium does not know: save it without encryption"
            raise PageError(reason, source=file.name) from error
        reason = f"the PDF is damaged or empty: {error}; save it again with a program that opens it"
        raise PageError(reason, source=file.name) from error
    form = document.get_formtype()
    if form != pdfium_c.FORMTYPE_NONE:
        with _without_advice():
            document.init_forms()
    is_xfa = form in (pdfium_c.FORMTYPE_XFA_FULL, pdfium_c.FORMTYPE_XFA_FOREGROUND)
    file._notes = (_MENDED,) * (file._mended is not None) + (_XFA,) * is_xfa
    _watch_end()
    _OPEN[file] = document
    while len(_OPEN) > _MAX_OPEN:
        _, oldest = _OPEN.popitem(last=False)
        oldest.close()
    return document


def _load(file: PdfFile) -> pdfium.PdfDocument:
    """Loads the document, by any reading of its password, mended if PDFium refuses it. Raises PdfiumError."""
    try:
        return _with_password(file._data if file._mended is None else file._mended, file._password)
    except pdfium.PdfiumError as error:
        if error.err_code in (pdfium_c.FPDF_ERR_PASSWORD, pdfium_c.FPDF_ERR_SECURITY) or file._mended is not None:
            raise
        data = _read_whole(file._data)
        mended = None if data is None else mended_pdf(data)
        if mended is None:
            raise
        document = _with_password(mended, file._password)
    file._mended = mended
    return document


def _with_password(data: Path | bytes, password: str | None) -> pdfium.PdfDocument:
    readings = [None] if password is None else password_bytes(password)
    error: pdfium.PdfiumError | None = None
    for reading in readings:
        if isinstance(data, bytes):
            handle = pdfium_c.FPDF_LoadMemDocument64(data, len(data), reading)
        else:
            handle = pdfium_c.FPDF_LoadDocument(os.fsencode(data), reading)
        if pdfium_c.FPDF_GetPageCount(handle) > 0:
            document = pdfium.PdfDocument(handle)
            document._data_holder.append(data)  # PDFium goes on reading it
            return document
        code = pdfium_c.FPDF_GetLastError()
        pdfium_c.FPDF_CloseDocument(handle)
        error = pdfium.PdfiumError(_CODES.get(code, f"code {code}"), err_code=code)
        if code != pdfium_c.FPDF_ERR_PASSWORD:
            break
    raise error or pdfium.PdfiumError("wrong password", err_code=pdfium_c.FPDF_ERR_PASSWORD)


def _read_whole(data: Path | bytes) -> bytes | None:
    """The bytes of a file that is small enough to be mended."""
    if isinstance(data, bytes):
        return data if len(data) <= _MOST_MENDED else None
    try:
        return data.read_bytes() if data.stat().st_size <= _MOST_MENDED else None
    except OSError:
        return None


@contextmanager
def _without_advice() -> Iterator[None]:
    """Keeps pypdfium2's advice to build PDFium with XFA from the log: a warning of ours says what is shown."""
    loggers = [logging.getLogger(name) for name in ("pypdfium2", pdfium.PdfDocument.__module__)]
    for logger in loggers:
        logger.addFilter(_no_advice)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_no_advice)


def _no_advice(record: logging.LogRecord) -> bool:
    return "XFA" not in record.getMessage()


def _paint(bitmap: pdfium_c.FPDF_BITMAP, page: pdfium.PdfPage, width: int, height: int) -> None:
    """White, then the page stretched to the whole bitmap, then its form fields. REVERSE_BYTE_ORDER gives RGB."""
    flags = pdfium_c.FPDF_ANNOT | pdfium_c.FPDF_REVERSE_BYTE_ORDER
    pdfium_c.FPDFBitmap_FillRect(bitmap, 0, 0, width, height, _WHITE)
    pdfium_c.FPDF_RenderPageBitmap(bitmap, page.raw, 0, 0, width, height, 0, flags)
    if page.formenv is not None:
        pdfium_c.FPDF_FFLDraw(page.formenv.raw, bitmap, page.raw, 0, 0, width, height, 0, flags)
