"""The ``/UserUnit`` of PDF pages: how many points one of the page's units is, which PDFium does not say.

Only files in which the word stands are looked at further: PDFium copies their pages into a new file, whose objects are
written plainly, one after another.
"""

from __future__ import annotations

import io
import mmap
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import pypdfium2 as pdfium  # type: ignore[import-untyped]
import pypdfium2.raw as pdfium_c  # type: ignore[import-untyped]

LARGEST = 75_000.0  # points of a unit, as Acrobat has it
MOST_STREAMS = 10_000
_MOST_STREAM, _MOST_INFLATED = 1 << 20, 4 << 20  # bytes of one object stream
_NAME = b"/UserUnit"
_KIDS = re.compile(rb"/Kids\s*\[([^\]]*)\]")
_REFERENCE = re.compile(rb"(\d+)\s+0\s+R")
_VALUE = re.compile(rb"/UserUnit\s+([0-9]*\.?[0-9]+)")


def user_units(document: pdfium.PdfDocument, data: Path | bytes) -> dict[int, float]:
    """Returns the points of a unit for each 0-based page on which they are not 1.

    Args:
        document: The open document.
        data: Its file.
    """
    if not _says_unit(data, inside_streams=(document.get_version() or 0) >= 16):
        return {}
    return _units_of(_copied(document), len(document))


def _says_unit(data: Path | bytes, *, inside_streams: bool) -> bool:
    """Whether the word stands in the file; streams of objects are inflated from PDF 1.6 on, which brought the entry."""
    if isinstance(data, bytes):
        return _says(data, inside_streams)
    try:
        with data.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return _says(mapped, inside_streams)
    except (OSError, ValueError):  # not a regular file, or an empty one: PDFium has read it by other means
        return False


def _says(data: bytes | mmap.mmap, inside_streams: bool) -> bool:
    if data.find(_NAME) >= 0:
        return True
    if not inside_streams or data.find(b"/ObjStm") < 0:
        return False
    with memoryview(data) as view:
        return any(_NAME in inflated for inflated in _object_streams(data, view))


def _object_streams(data: bytes | mmap.mmap, view: memoryview) -> Iterator[bytes]:
    at = 0
    for _ in range(MOST_STREAMS):
        at = data.find(b"/ObjStm", at)
        start = data.find(b"stream", at)
        if at < 0 or start < 0:
            return
        start += len(b"stream\r\n") if data[start + 6 : start + 8] == b"\r\n" else len(b"stream\n")
        at = start
        try:
            with view[start : start + _MOST_STREAM] as part:
                yield zlib.decompressobj().decompress(part, _MOST_INFLATED)
        except zlib.error:  # of another filter, or encrypted
            continue


def _copied(document: pdfium.PdfDocument) -> bytes:
    copy = pdfium.PdfDocument.new()
    try:
        pdfium_c.FPDF_ImportPagesByIndex(copy, document, None, 0, 0)
        stream = io.BytesIO()
        copy.save(stream)
        return stream.getvalue()
    finally:
        copy.close()


def _units_of(data: bytes, count: int) -> dict[int, float]:
    """Reads the units from a file that PDFium wrote: all pages are kids of one node, in their order."""
    places = _offsets(data)
    units: dict[int, float] = {}
    kids = next((found for found in map(_KIDS.search, _texts(data, places)) if found is not None), None)
    if kids is None:
        return units
    for page, number in enumerate(_REFERENCE.findall(kids[1])[:count]):
        at = places.get(int(number))
        if at is None:
            continue
        found = _VALUE.search(data[at : data.find(b"endobj", at)])
        value = float(found[1]) if found else 1.0
        if value != 1 and 0 < value <= LARGEST:
            units[page] = value
    return units


def _texts(data: bytes, places: dict[int, int]) -> list[bytes]:
    return [data[at : data.find(b"endobj", at)] for at in places.values()]


def _offsets(data: bytes) -> dict[int, int]:
    """Where each object begins, by the cross-reference table at the end."""
    start = data.rfind(b"startxref")
    table = int(data[start + 9 :].split()[0])
    places: dict[int, int] = {}
    number = 0
    for line in data[table:start].splitlines()[1:]:
        parts = line.split()
        if len(parts) == 2 and parts[0].isdigit():
            number = int(parts[0])
        elif len(parts) == 3:
            if parts[2] == b"n":
                places[number] = int(parts[0])
            number += 1
    return places
