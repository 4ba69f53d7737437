"""PDF files that tests make."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable

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


def drawn_pdf(pages: Iterable[Callable[[Canvas], None]], size: tuple[float, float] = (300.0, 400.0)) -> bytes:
    """A PDF of what each function draws on a page of its own, in points from the lower left corner."""
    stream = io.BytesIO()
    canvas = Canvas(stream, pagesize=size, invariant=1)
    for draw in pages:
        draw(canvas)
        canvas.showPage()
    canvas.save()
    return stream.getvalue()


def words_pdf(pages: Iterable[str], size: tuple[float, float] = (300.0, 400.0)) -> bytes:
    """A PDF of pages of a line near the top each."""
    return drawn_pdf((lambda canvas, words=words: canvas.drawString(20, size[1] - 30, words) for words in pages), size)
