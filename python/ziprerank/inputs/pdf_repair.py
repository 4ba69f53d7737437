"""Mends PDFs that PDFium refuses and other readers open: no header where one is looked for, or no usable trailer."""

from __future__ import annotations

import re

_HEADER = b"%PDF-1.7\n"
_LOOKED_AT = 1024  # bytes in which PDFium looks for the header
_OBJECT = re.compile(rb"(\d{1,10})\s+(\d{1,5})\s+obj\b")
_CATALOG = re.compile(rb"/Type\s*/Catalog\b")
_PAGES = re.compile(rb"/Type\s*/Pages\b")
_ENCRYPTION = re.compile(rb"/Encrypt\s+\d+\s+\d+\s+R")
_IDENTITY = re.compile(rb"/ID\s*\[\s*<[0-9A-Fa-f\s]*>\s*<[0-9A-Fa-f\s]*>\s*\]")


def mended_pdf(data: bytes) -> bytes | None:
    """Returns the file with a header at its start and a trailer that names its catalog.

    PDFium then finds the objects by itself. None if the file holds no object that could be its catalog.
    """
    at = data.find(b"%PDF-")
    body = data if 0 <= at < _LOOKED_AT else _HEADER + data[max(0, at) :]
    root = _holder(body, _CATALOG)
    added = b""
    if root is None or b"/Pages" not in root[1]:
        pages = _holder(body, _PAGES, without=b"/Parent")
        if pages is None:
            return None
        number = 1 + max(int(found[1]) for found in _OBJECT.finditer(body))
        added = b"\n%d 0 obj\n<</Type/Catalog/Pages %s R>>\nendobj" % (number, pages[0])
        root = b"%d 0" % number, b""
    kept = [found[-1] for found in (_ENCRYPTION.findall(body), _IDENTITY.findall(body)) if found]
    if body.rfind(b" obj") > body.rfind(b"endobj"):  # the file ends within an object
        added = b"\nendobj" + added
    trailer = b"\ntrailer\n<</Root %s R%s>>\nstartxref\n0\n%%%%EOF\n" % (root[0], b"".join(kept))
    return body + added + trailer


def _holder(body: bytes, entry: re.Pattern[bytes], without: bytes | None = None) -> tuple[bytes, bytes] | None:
    """Returns the number, as in a reference, and the text of the last object that has an entry."""
    for found in reversed(list(entry.finditer(body))):
        start = max(body.rfind(b"obj", 0, found.start()), 0)
        head = [one for one in _OBJECT.finditer(body, max(0, start - 24), start + 3) if one.end() == start + 3]
        end = body.find(b"endobj", found.end())
        text = body[start : len(body) if end < 0 else end]
        if head and not (without is not None and without in text):
            return b"%d %d" % (int(head[-1][1]), int(head[-1][2])), text
    return None
