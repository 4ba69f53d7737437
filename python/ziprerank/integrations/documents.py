"""Turns a framework's documents into candidate pages; each document shows one page, of an image or a PDF."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ziprerank.bundle import ImageRules
from ziprerank.errors import InvalidInput, PageError, quoted, said_for
from ziprerank.inputs.bad_pages import BadPage, OnBadPage
from ziprerank.inputs.media import HEAD_BYTES, decode_media, is_encoded_page, is_pdf, is_url
from ziprerank.inputs.pages import PageSource, Pdf, open_pages
from ziprerank.inputs.stored_file import StoredFile
from ziprerank.inputs.workers.limits import PageLimits
from ziprerank.values import whole_number

Data: TypeAlias = "Path | bytes | Image.Image | NDArray[np.uint8]"

_LABEL_KEY = "page_label"  # where LlamaIndex and LangChain write a PDF's printed labels
_NUMERIC = re.compile(r"[+-]?[0-9]{1,9}(\.0*)?", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class DocumentPage:
    """The page that a document shows.

    Attributes:
        data: An image, or a path or the bytes of an image or PDF file.
        page: Page of a PDF: its number from 1, or its printed label (such as ``"iv"``) as a string; None is the only
            page.
        hint: Where the framework's documents keep the page, for errors.
    """

    data: Data
    page: int | str | None = None
    hint: str = "a page number"


@dataclass(frozen=True, slots=True)
class MetadataRules:
    """Where a framework's loaders write which page a document came from.

    Attributes:
        path_key: Metadata key of the file's path.
        page_key: Metadata key of the page in a PDF; strings under ``page_label`` are printed labels, even ``"1"``.
        first_page: Number that the metadata give to a PDF's first page.
        root: Folder that paths are relative to and must stay in; None allows all paths.
    """

    path_key: str
    page_key: str
    first_page: int = 1
    root: str | None = None

    def read(self, metadata: Mapping[str, Any]) -> DocumentPage | None:
        """Returns the page that a document's metadata name, or None if they name no file. Raises InvalidInput."""
        path = metadata.get(self.path_key)
        if path is None or path == "":
            return None
        if not isinstance(path, (str, Path)):
            raise InvalidInput(f"metadata[{self.path_key!r}] is a {type(path).__name__}: give the path of a file")
        return self.file(path, metadata)

    def file(self, path: str | Path, metadata: Mapping[str, Any]) -> DocumentPage:
        """Returns the page of the file at ``path`` that the metadata name.

        Args:
            path: Path of an image or PDF file.
            metadata: The document's metadata.

        Raises:
            InvalidInput: ``path`` is a URL or outside ``root``, or the page is neither a number nor a label.
        """
        return DocumentPage(self._inside_root(path), self.page(metadata), f"metadata[{self.page_key!r}]")

    def page(self, metadata: Mapping[str, Any]) -> int | str | None:
        """Returns the page that the metadata name: its number from 1, its label, or None. Raises InvalidInput."""
        page = metadata.get(self.page_key)
        if isinstance(page, str) and self.page_key == _LABEL_KEY:
            return page
        return page_of(page, f"metadata[{self.page_key!r}]", self.first_page)

    def _inside_root(self, path: str | Path) -> Path:
        if is_url(str(path)):
            raise InvalidInput(f"{path} is a URL, which is not fetched: download it and give the file's path")
        if self.root is None:
            return Path(path)
        root = Path(self.root).resolve()
        inside = (root / path).resolve()
        if not inside.is_relative_to(root):
            raise InvalidInput(f"{path} is outside the root path {self.root}: move the file there")
        return inside


def page_of(value: object, name: str, first_page: int = 1) -> int | str | None:
    """Reads a page by its value and not by its type: ``1``, ``1.0``, ``np.int64(1)`` and ``"1"`` are the same page.

    Args:
        value: The page as a document gives it.
        name: Where the document gives it, for errors.
        first_page: Number of a PDF's first page there.

    Returns:
        The page's number from 1; a string that is not a whole number, which is a printed label; or None.

    Raises:
        InvalidInput: The page is neither a whole number nor a string, or is below ``first_page``.
    """
    if value is None:
        return None
    number = whole_number(value)
    if isinstance(value, str):
        if _NUMERIC.fullmatch(value.strip()) is None:
            return value
        number = int(float(value))
    if number is None:
        raise InvalidInput(f"{name} is {quoted(value)}: give a whole number")
    if number < first_page:
        raise InvalidInput(f"{name} is {value}: pages are counted from {first_page} here")
    return number - first_page + 1


def encoded_page(text: str | bytes, page: int | str | None = None, hint: str = "a page number") -> DocumentPage:
    """Returns the page of a file that a document holds.

    Args:
        text: The file's bytes, or its base64 or ``data:`` URL.
        page: As in ``DocumentPage``.
        hint: As in ``DocumentPage``.

    Raises:
        InvalidInput: The string is not valid base64, or the file is empty.
    """
    return DocumentPage(text if isinstance(text, bytes) else decode_media(text), page, hint)


def page_in_text(text: str) -> Path | bytes | None:
    """Returns the bytes of a page encoded in a string, the path that it gives, or None if it is words.

    Use it only on strings of the caller, never on text from documents, since it looks at the file system.
    """
    if is_encoded_page(text):
        return decode_media(text)
    if len(text) < 4096 and "\0" not in text and Path(text).is_file():
        return Path(text)
    return None


def no_page(index: int, name: str, ways: str) -> PageError:
    """Returns the error for a document that has only text.

    Args:
        index: 0-based position of the document.
        name: The document's name in the error.
        ways: How the framework's documents can show a page.
    """
    reason = f"it has text only, but pages are ranked by their images: {ways}"
    return PageError(reason, source=name, index=index)


@dataclass(frozen=True, slots=True)
class Candidates:
    """The pages of a list of documents.

    Attributes:
        pages: The candidate pages, each only once.
        shown: For each document the position of its page in ``pages``; chunks of one PDF page share it.
    """

    pages: list[PageSource] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)


@contextmanager
def open_documents(
    documents: Sequence[DocumentPage | BadPage],
    rules: ImageRules,
    password: str | None = None,
    on_bad_page: OnBadPage = "raise",
    *,
    limits: PageLimits | None = None,
) -> Iterator[Candidates]:
    """Opens each document's page, and each PDF once for all its pages.

    Args:
        documents: The documents.
        rules: How the bundle prepares images.
        password: Opens encrypted PDFs.
        on_bad_page: With ``"skip"``, the page of a document that cannot be opened is a ``BadPage``.
        limits: Where files are read, and what one page may cost; None is the defaults.

    Yields:
        The open pages, which the context closes.

    Raises:
        PageError: A page cannot be opened; the error has the document's index.
    """
    candidates = Candidates()
    keys: dict[tuple[Path | bytes, int] | int, int] = {}  # a PDF's page, or a document by itself -> candidate
    with ExitStack() as stack:
        reader = _Reader(rules, password, limits, stack)
        located = reader.locate(documents)
        opened = reader.open_pdfs(located)
        for index, (document, place) in enumerate(zip(documents, located, strict=True)):
            key = place if isinstance(place, tuple) else index
            if key not in keys:
                keys[key] = len(candidates.pages)
                source = opened[place] if isinstance(place, tuple) else reader.source(index, document, place)
                if isinstance(source, BadPage) and on_bad_page == "raise":
                    raise said_here(source.error).at(index) from source.error
                candidates.pages.append(source)
            candidates.shown.append(keys[key])
        yield candidates


_Place: TypeAlias = "tuple[Path | bytes, int]"


class _Reader:
    """Opens the files of one list of documents, which ``stack`` closes."""

    def __init__(self, rules: ImageRules, password: str | None, limits: PageLimits | None, stack: ExitStack) -> None:
        self._rules = rules
        self._password = password
        self._limits = limits
        self._stack = stack

    def locate(self, documents: Sequence[DocumentPage | BadPage]) -> list[_Place | BadPage | None]:
        """Returns the PDF and the 1-based page of each document, None for an image, or why there is neither."""
        files: dict[Path | bytes, StoredFile] = {}
        located: list[_Place | BadPage | None] = []
        try:
            for index, document in enumerate(documents):
                if isinstance(document, BadPage):
                    located.append(document)
                    continue
                data = document.data
                try:
                    with at_index(index):
                        if not isinstance(data, (Path, bytes)) or not _is_pdf(data):
                            located.append(None)
                            continue
                        if data not in files:
                            name = "PDF bytes" if isinstance(data, bytes) else str(data)
                            files[data] = StoredFile(data, name, self._limits, password=self._password)
                        located.append((data, _page_number(files[data], document)))
                except PageError as error:
                    located.append(BadPage(error))
        finally:
            for file in files.values():
                file.close()
        return located

    def open_pdfs(self, located: Sequence[_Place | BadPage | None]) -> dict[_Place, PageSource]:
        """Opens each PDF for all its pages that are wanted; those that cannot be opened are ``BadPage``s."""
        wanted: dict[Path | bytes, list[int]] = {}
        for place in located:
            if isinstance(place, tuple) and place[1] not in wanted.setdefault(place[0], []):
                wanted[place[0]].append(place[1])
        opened: dict[_Place, PageSource] = {}
        for data, numbers in wanted.items():
            given = Pdf(data, numbers, self._password)
            sources = self._stack.enter_context(open_pages([given], self._rules, "skip", limits=self._limits))
            if len(sources) < len(numbers):  # the document as a whole
                sources = sources[:1] * len(numbers)
            opened |= {(data, number): source for number, source in zip(numbers, sources, strict=True)}
        return opened

    def source(self, index: int, document: DocumentPage | BadPage, place: BadPage | None) -> PageSource:
        """Returns the page of a document that is no page of a PDF."""
        if isinstance(document, BadPage):
            return document
        if place is not None:
            return place
        try:
            with at_index(index):
                return self._image(document)
        except PageError as error:
            return BadPage(error)

    def _image(self, document: DocumentPage) -> PageSource:
        sources = self._stack.enter_context(open_pages([document.data], self._rules, limits=self._limits))
        if len(sources) == 1:
            return sources[0]
        page = document.page
        if isinstance(page, int) and 1 <= page <= len(sources):
            return sources[page - 1]
        raise PageError(
            f"the TIFF has {len(sources)} pages: say which with {document.hint}, a number from 1",
            source=sources[0].source,
        )


def _page_number(file: StoredFile, document: DocumentPage) -> int:
    page, count = document.page, file.pages()
    if page is None:
        if count == 1:
            return 1
        raise PageError(f"the PDF has {count} pages: say which with {document.hint}", source=file.name)
    if isinstance(page, str):
        labels = file.labels()
        if labels.count(page) != 1:
            found = "more than one page is" if page in labels else f"none of its {count} pages is"
            raise PageError(
                f"{found} labelled {quoted(page)}: give {document.hint} as a number from 1", source=file.name
            )
        return labels.index(page) + 1
    if not 1 <= page <= count:
        raise PageError(f"page {page} is outside 1..{count}: correct {document.hint}", source=file.name)
    return page


def _is_pdf(data: Path | bytes) -> bool:
    if isinstance(data, Path):
        if not data.is_file():
            return False  # opening it as an image then raises the error
        with data.open("rb") as file:
            data = file.read(HEAD_BYTES)
    return is_pdf(data[:HEAD_BYTES])


PASSWORD_WAY_HERE = "with the option password"


def said_here(error: PageError) -> PageError:
    """Returns the error with the adapters' way to give a password."""
    reason = said_for(error.reason, PASSWORD_WAY_HERE)
    return PageError(reason, source=error.source, page=error.page, index=error.index)


@contextmanager
def at_index(index: int) -> Iterator[None]:
    """Adds the document's index to every error."""
    try:
        yield
    except PageError as error:
        raise said_here(error).at(index) from error
    except (InvalidInput, OSError) as error:
        raise PageError(str(error), source="document", index=index) from error
