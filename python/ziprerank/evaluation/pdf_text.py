"""The text layer of PDF pages."""

from __future__ import annotations

from pathlib import Path

import pypdfium2 as pdfium  # type: ignore[import-untyped]

from ziprerank.errors import InvalidInput


def pdf_texts(file: Path) -> list[str]:
    """Returns the text of every page of a PDF, "" for one without. Raises InvalidInput if it cannot be read."""
    try:
        with pdfium.PdfDocument(file) as document:
            return [page.get_textpage().get_text_range() for page in document]
    except (OSError, pdfium.PdfiumError) as error:
        raise InvalidInput(f"{file} cannot be read: {error}") from error
