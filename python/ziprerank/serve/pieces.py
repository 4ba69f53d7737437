"""A request's documents as they were sent, in any of the accepted shapes, and the files that their URLs name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ziprerank.inputs.bad_pages import OnBadPage
from ziprerank.inputs.media import is_encoded_page, is_url
from ziprerank.serve.failures import Refused
from ziprerank.serve.fetching import Fetcher, FetchError
from ziprerank.serve.schemas import (
    ContentDocument,
    Document,
    ImageDocument,
    ImagePart,
    PdfDocument,
    StoredDocument,
    TextPart,
)


@dataclass(slots=True)
class Piece:
    """A document as the client sent it.

    Attributes:
        index: 0-based position in ``list``.
        field: Path of the field that ``data`` came from; None for a bare string or an uploaded file.
        data: The bytes of a file, or a string: a URL, an encoded file, or words.
        text: Whether ``data`` is words: a document without a page, or to be drawn as one.
        beside: Words beside the page, for bundles that read them.
        pages: Page range of a PDF, from 1; None is all.
        password: Password of an encrypted PDF.
        fault: Why there is no file, if it could not be fetched and bad documents are skipped.
        list: The field that lists the documents.
        before: How many documents come before those of ``list``.
        stored: Whether ``data`` is the id of a document that is kept.
    """

    index: int
    field: str | None
    data: str | bytes
    text: bool = False
    beside: str | None = None
    pages: str | None = None
    password: str | None = None
    fault: str | None = None
    list: str = "documents"
    before: int = 0
    stored: bool = False

    @property
    def param(self) -> str:
        """The document's name in errors: ``documents[3].image`` or ``files[0]``."""
        return f"{self.list}[{self.index - self.before}]" + (f".{self.field}" if self.field else "")

    def refuse(self, message: str, status: int = 422, kind: str | None = "invalid_document") -> Refused:
        """Returns an error about this document."""
        return Refused(status, f"{self.param}: {message}", param=self.param, index=self.index, kind=kind)


def read_document(index: int, document: Document) -> Piece:
    """Returns the document at ``index`` of a request, whichever of the accepted shapes it has."""
    if isinstance(document, str):
        return Piece(index, None, document, text=not _is_media(document))
    if isinstance(document, ImageDocument):
        return Piece(index, "image", document.image, beside=document.text or None)
    if isinstance(document, PdfDocument):
        return Piece(index, "pdf", document.pdf, pages=document.pages, password=document.password)
    if isinstance(document, StoredDocument):
        identity, pages, password = document.document_id, document.pages, document.password
        return Piece(index, "document_id", identity, pages=pages, password=password, stored=True)
    if isinstance(document, ContentDocument):
        part = document.content[0]
        if isinstance(part, ImagePart):
            last = document.content[-1]
            beside = last.text if isinstance(last, TextPart) else ""
            return Piece(index, "content[0].image_url.url", part.image_url.url, beside=beside or None)
        field, words = "content[0].text", part.text
    else:
        field, words = "text", document.text
    return Piece(index, field, words, text=True)


async def fetch_pieces(
    pieces: Sequence[Piece], fetcher: Fetcher, hold: Callable[[int], None], on_bad_page: OnBadPage = "raise"
) -> None:
    """Replaces every URL among the documents by the file that it points to.

    Args:
        pieces: Documents, changed in place.
        fetcher: Downloads the files.
        hold: Called with the number of bytes before they are kept.
        on_bad_page: With ``"skip"``, a file that cannot be fetched becomes its document's ``fault``.

    Raises:
        Refused: A file cannot be fetched (the error names the document), or ``hold`` refuses its bytes.
    """

    async def fetch(piece: Piece, url: str) -> None:
        try:
            piece.data = await fetcher.fetch(url, hold)
        except FetchError as error:
            if on_bad_page == "raise":
                raise piece.refuse(str(error)) from None
            piece.fault = str(error)

    tasks = [
        asyncio.ensure_future(fetch(piece, piece.data))
        for piece in pieces
        if isinstance(piece.data, str) and not piece.text and is_url(piece.data)
    ]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _is_media(text: str) -> bool:
    """Tells whether a bare string is a file: a URL without blanks, or an encoded page."""
    if is_url(text):
        return not any(character.isspace() for character in text[:2048].strip())
    return is_encoded_page(text)
