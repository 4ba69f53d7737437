"""A framework's documents -> candidate pages, each document one page of an image or a PDF."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ziprerank.bundle import ImageRules
from ziprerank.errors import InvalidInput, PageError
from ziprerank.inputs.media import HEAD_BYTES, decode_media, is_encoded_page, is_pdf
from ziprerank.inputs.pages import PageSource, Pdf, open_pages
from ziprerank.inputs.pdf import PdfFile

Data: TypeAlias = "Path | bytes | Image.Image | NDArray[np.uint8]"


@dataclass(frozen=True, slots=True, eq=False)
class DocumentPage:
    """The page that a document shows.

    ``page``: of a PDF, its 1-based number, or as text its printed label (``"iv"``); None is the only page. ``hint``:
    where the framework keeps it, for errors.
    """

    data: Data
    page: int | str | None = None
    hint: str = "a page number"


@dataclass(frozen=True, slots=True)
class MetadataRules:
    """Where a framework's loaders write which page a document came from."""

    path_key: str
    page_key: str
    first_page: int = 1  # the number of a file's first page
    root: str | None = None

    def read(self, metadata: Mapping[str, Any]) -> DocumentPage | None:
        """The page that the metadata name, None where they name no file. Raises InvalidInput."""
        path = metadata.get(self.path_key)
        if path is None or path == "":
            return None
        if not isinstance(path, (str, Path)):
            raise InvalidInput(f"metadata[{self.path_key!r}] is a {type(path).__name__}: give the path of a file")
        return self.file(path, metadata)

    def file(self, path: str | Path, metadata: Mapping[str, Any]) -> DocumentPage:
        """``path`` at the page that the metadata name. Raises InvalidInput for a page that is no number or label."""
        return DocumentPage(self._inside_root(path), self.page(metadata), f"metadata[{self.page_key!r}]")

    def page(self, metadata: Mapping[str, Any]) -> int | str | None:
        page = metadata.get(self.page_key)
        if page is None or isinstance(page, str):
            return page
        if isinstance(page, bool) or not isinstance(page, int):
            raise InvalidInput(f"metadata[{self.page_key!r}] is {page!r}: give a whole number")
        if page < self.first_page:
            raise InvalidInput(f"metadata[{self.page_key!r}] is {page}: pages are counted from {self.first_page} here")
        return page - self.first_page + 1

    def _inside_root(self, path: str | Path) -> Path:
        if str(path)[:8].lower().startswith(("http://", "https://")):
            raise InvalidInput(f"{path} is a URL, and nothing is fetched: download it and give the file's path")
        if self.root is None:
            return Path(path)
        root = Path(self.root).resolve()
        inside = (root / path).resolve()
        if not inside.is_relative_to(root):
            raise InvalidInput(f"{path} is outside of the root path {self.root}: move the file there")
        return inside


def encoded_page(text: str | bytes, page: int | str | None = None, hint: str = "a page number") -> DocumentPage:
    """A file's bytes, or its base64 or ``data:`` URL. Raises InvalidInput."""
    return DocumentPage(text if isinstance(text, bytes) else decode_media(text), page, hint)


def page_in_text(text: str) -> Path | bytes | None:
    """What a string of the caller's own is: an encoded page, the path of a file, or None for words."""
    if is_encoded_page(text):
        return decode_media(text)
    if len(text) < 4096 and "\0" not in text and Path(text).is_file():
        return Path(text)
    return None


def shortened(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")


def no_page(index: int, name: str, ways: str) -> PageError:
    """The error for a document of text alone; ``ways`` says how this framework's documents show pages."""
    reason = f"it has text only, and pages are ranked by their images: {ways}"
    return PageError(reason, source=name, index=index)


@dataclass(frozen=True, slots=True)
class Candidates:
    """``shown`` [documents]: which of ``pages`` a document shows. Chunks of one PDF page share it."""

    pages: list[PageSource] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)


@contextmanager
def open_documents(
    documents: Sequence[DocumentPage], rules: ImageRules, password: str | None = None
) -> Iterator[Candidates]:
    """Opens each document's page; a PDF is opened once for all its pages, with ``password`` if it is encrypted.

    Raises:
        PageError: A page cannot be opened; the error has the document's index.
    """
    candidates = Candidates()
    keys: dict[tuple[Path | bytes, int] | int, int] = {}  # a PDF's page, or a document by itself -> candidate
    with ExitStack() as stack:
        located = _locate(documents, password)
        opened = _open_pdfs(located, rules, stack, password)
        for index, (document, number) in enumerate(zip(documents, located, strict=True)):
            key = index if number is None else number
            if key not in keys:
                keys[key] = len(candidates.pages)
                with _at(index):
                    source = opened[number] if number is not None else _open_image(document, rules, stack)
                candidates.pages.append(source)
            candidates.shown.append(keys[key])
        yield candidates


def _locate(documents: Sequence[DocumentPage], password: str | None) -> list[tuple[Path | bytes, int] | None]:
    """For each document the PDF and the 1-based page, None for images."""
    files: dict[Path | bytes, PdfFile] = {}
    located: list[tuple[Path | bytes, int] | None] = []
    try:
        for index, document in enumerate(documents):
            data = document.data
            with _at(index):
                if not isinstance(data, (Path, bytes)) or not _is_pdf(data):
                    located.append(None)
                    continue
                if data not in files:
                    name = "PDF bytes" if isinstance(data, bytes) else str(data)
                    files[data] = PdfFile(data, name=name, password=password)
                located.append((data, _page_number(files[data], document)))
    finally:
        for file in files.values():
            file.close()
    return located


def _page_number(file: PdfFile, document: DocumentPage) -> int:
    page = document.page
    if page is None:
        if file.pages == 1:
            return 1
        raise PageError(f"the PDF has {file.pages} pages: say which with {document.hint}", source=file.name)
    if isinstance(page, str):
        labels = file.labels()
        if labels.count(page) != 1:
            found = "more than one page is" if page in labels else f"none of its {file.pages} pages is"
            raise PageError(f"{found} labelled {page!r}: give {document.hint} as a number from 1", source=file.name)
        return labels.index(page) + 1
    if not 1 <= page <= file.pages:
        raise PageError(f"page {page} is outside 1..{file.pages}: mend {document.hint}", source=file.name)
    return page


def _open_pdfs(
    located: Sequence[tuple[Path | bytes, int] | None], rules: ImageRules, stack: ExitStack, password: str | None
) -> dict[tuple[Path | bytes, int], PageSource]:
    wanted: dict[Path | bytes, dict[int, int]] = {}  # file -> page -> first document
    for index, page in enumerate(located):
        if page is not None:
            wanted.setdefault(page[0], {}).setdefault(page[1], index)
    opened: dict[tuple[Path | bytes, int], PageSource] = {}
    for data, numbers in wanted.items():
        try:
            sources = stack.enter_context(open_pages([Pdf(data, list(numbers), password)], rules))
        except PageError as error:
            raise error.at(numbers.get(error.page or 0, min(numbers.values()))) from error
        opened |= {(data, number): source for number, source in zip(numbers, sources, strict=True)}
    return opened


def _open_image(document: DocumentPage, rules: ImageRules, stack: ExitStack) -> PageSource:
    [source] = stack.enter_context(open_pages([document.data], rules))
    return source


def _is_pdf(data: Path | bytes) -> bool:
    if isinstance(data, Path):
        if not data.is_file():
            return False  # the error comes where it is opened as an image
        with data.open("rb") as file:
            data = file.read(HEAD_BYTES)
    return is_pdf(data[:HEAD_BYTES])


@contextmanager
def _at(index: int) -> Iterator[None]:
    """Gives every error the document's index."""
    try:
        yield
    except PageError as error:
        raise error.at(index) from error
    except (InvalidInput, OSError) as error:
        raise PageError(str(error), source="document", index=index) from error
