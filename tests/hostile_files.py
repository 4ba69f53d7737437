"""Small files that cost a reader much: time without end, or memory."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image


def endless_pdf(levels: int = 28) -> bytes:
    """A PDF of 3 kB whose form fields name each child twice, so that PDFium visits 2^levels of them at its one page."""
    first, last = 5, 5 + levels
    objects = [
        b"<</Type/Catalog/Pages 2 0 R/AcroForm 4 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]>>",
        b"<</Fields[%d 0 R]>>" % first,
    ]
    for number in range(first, last):
        parent = b"" if number == first else b"/Parent %d 0 R" % (number - 1)
        objects.append(b"<</Kids[%d 0 R %d 0 R]%b>>" % (number + 1, number + 1, parent))
    objects.append(b"<</Type/Annot/Subtype/Widget/FT/Tx/T(leaf)/Rect[0 0 1 1]/Parent %d 0 R>>" % (last - 1))
    return pdf_of(objects)


def pdf_of(objects: list[bytes]) -> bytes:
    """A PDF of these objects, numbered from 1; the first is its catalog."""
    body = b"%PDF-1.7\n"
    places = []
    for number, text in enumerate(objects, start=1):
        places.append(len(body))
        body += b"%d 0 obj%b endobj\n" % (number, text)
    table = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    table += b"".join(b"%010d 00000 n \n" % place for place in places)
    return body + table + b"trailer<</Root 1 0 R/Size %d>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(body))


def scans_jpeg(scans: int, side: int = 8000) -> bytes:
    """A progressive JPEG of one grey whose last scan comes again and again, each time over all of its blocks."""
    stream = io.BytesIO()
    Image.new("L", (side, side), 128).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def white_png(side: int) -> bytes:
    """A PNG of white pixels, ``side`` squared, 8-bit RGB; about a thousandth of its decoded size."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    packer = zlib.compressobj(9)
    row = b"\0" + b"\xff" * (3 * side)
    body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", body) + chunk(b"IEND", b"")
