"""PDF files that tests make."""

from __future__ import annotations

import io

from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas


def make_pdf(
    pages: int = 1, size: tuple[float, float] = (300.0, 400.0), *, password: str | None = None, padding: int = 0
) -> bytes:
    """A PDF that has "page 1" and so on in the middle of its pages, with ``padding`` bytes more at its end."""
    stream = io.BytesIO()
    encrypt = None if password is None else StandardEncryption(password, ownerPassword="owner", strength=128)
    canvas = Canvas(stream, pagesize=size, invariant=1, encrypt=encrypt, pageCompression=0)
    for page in range(1, pages + 1):
        canvas.setFont("Helvetica", 24)
        canvas.drawString(40, size[1] / 2, f"page {page}")
        canvas.showPage()
    canvas.save()
    return stream.getvalue() + b"%" * padding
