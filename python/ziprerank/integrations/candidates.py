"""Opens the pages that a framework's documents show, each only once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from ziprerank.bundle import ImageRules
from ziprerank.errors import PageError, quoted
from ziprerank.inputs.bad_pages import BadPage, OnBadPage
from ziprerank.inputs.media import HEAD_BYTES, is_pdf
from ziprerank.inputs.page_source import PageSource
from ziprerank.inputs.pages import Pdf, open_pages
from ziprerank.inputs.stored_file import StoredFile
from ziprerank.inputs.texted_page import TextedPage, TextOnly
from ziprerank.inputs.workers.limits import PageLimits
from ziprerank.integrations.documents import DocumentPage, at_index, said_here


@dataclass(frozen=True, slots=True)
class Shown:
    """A page that a document shows.

    Attributes:
        document: 0-based position of the document.
        candidate: Position of the page in ``Candidates.pages``; chunks of one PDF page share it.
        page: The page's number from 1 if the document has several and names none.
    """

    document: int
    candidate: int
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Candidates:
    """The pages of a list of documents.

    Attributes:
        pages: The candidate pages, each only once.
        shown: What the documents show, in their order.
    """

    pages: list[PageSource] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)


@contextmanager
def open_documents(
    documents: Sequence[DocumentPage | BadPage],
    rules: ImageRules,
    password: str | None = None,
    on_bad_page: OnBadPage = "raise",
    *,
    limits: PageLimits | None = None,
    every_page: bool = False,
) -> Iterator[Candidates]:
    """Opens each document's page, and each PDF once for all its pages.

    Args:
        documents: The documents.
        rules: How the bundle prepares images.
        password: Opens encrypted PDFs.
        on_bad_page: With ``"skip"``, the page of a document that cannot be opened is a ``BadPage``.
        limits: Where files are read, and what one page may cost; None is the defaults.
        every_page: Whether a document that has several pages and names none shows them all; otherwise it is refused.

    Yields:
        The open pages, which the context closes.

    Raises:
        PageError: A page cannot be opened; the error has the document's index.
    """
    candidates = Candidates()
    places: dict[_Place, int] = {}  # a PDF's page -> candidate
    with ExitStack() as stack:
        reader = _Reader(rules, password, limits, stack, every_page)
        located = reader.locate(documents)
        opened = reader.open_pdfs(located)
        for index, (document, found) in enumerate(zip(documents, located, strict=True)):
            sources: list[tuple[_Place | None, PageSource]]
            if isinstance(found, list):
                sources = [(place, opened[place]) for place in found]
            else:
                sources = [(None, source) for source in reader.sources(index, document, found)]
            if isinstance(document, DocumentPage) and document.text is not None and document.data is not None:
                sources = [(None, _texted(index, one, document.text, len(sources))) for _, one in sources]
            for number, (place, source) in enumerate(sources, start=1):
                candidate = len(candidates.pages) if place is None else places.setdefault(place, len(candidates.pages))
                if candidate == len(candidates.pages):
                    if isinstance(source, BadPage) and on_bad_page == "raise":
                        raise said_here(source.error).at(index) from source.error
                    candidates.pages.append(source)
                candidates.shown.append(Shown(index, candidate, number if len(sources) > 1 else None))
        yield candidates


_Place: TypeAlias = "tuple[Path | bytes, int]"
_Located: TypeAlias = "list[_Place] | BadPage | None"


class _Reader:
    """Opens the files of one list of documents, which ``stack`` closes."""

    def __init__(
        self, rules: ImageRules, password: str | None, limits: PageLimits | None, stack: ExitStack, every_page: bool
    ) -> None:
        self._every_page = every_page
        self._whole: dict[StoredFile, int] = {}  # a PDF -> the document that shows every page of it
        self._rules = rules
        self._password = password
        self._limits = limits
        self._stack = stack

    def locate(self, documents: Sequence[DocumentPage | BadPage]) -> list[_Located]:
        """Returns the PDF and the 1-based pages of each document, None for an image, or why there is neither."""
        files: dict[Path | bytes, StoredFile] = {}
        located: list[_Located] = []
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
                        located.append([(data, number) for number in self._numbers(index, files[data], document)])
                except PageError as error:
                    located.append(BadPage(error))
        finally:
            for file in files.values():
                file.close()
        return located

    def _numbers(self, index: int, file: StoredFile, document: DocumentPage) -> list[int]:
        if document.page is not None or not self._every_page:
            return [_page_number(file, document)]
        if file.pages() > 1 and (first := self._whole.setdefault(file, index)) != index:
            raise PageError(
                f"it names no page, and candidate {first} shows every page of this PDF already: leave it out, or say "
                f"which page with {document.hint}",
                source=file.name,
            )
        return list(range(1, file.pages() + 1))

    def open_pdfs(self, located: Sequence[_Located]) -> dict[_Place, PageSource]:
        """Opens each PDF for all its pages that are wanted; those that cannot be opened are ``BadPage``s."""
        wanted: dict[Path | bytes, dict[int, None]] = {}
        for found in located:
            for data, number in found if isinstance(found, list) else ():
                wanted.setdefault(data, {})[number] = None
        opened: dict[_Place, PageSource] = {}
        for data, chosen in wanted.items():
            numbers = list(chosen)
            given = Pdf(data, numbers, self._password)
            sources = self._stack.enter_context(open_pages([given], self._rules, "skip", limits=self._limits))
            if len(sources) < len(numbers):  # the document as a whole
                sources = sources[:1] * len(numbers)
            opened |= {(data, number): source for number, source in zip(numbers, sources, strict=True)}
        return opened

    def sources(self, index: int, document: DocumentPage | BadPage, bad: BadPage | None) -> Sequence[PageSource]:
        """Returns the page of a document that is no page of a PDF, the pages of a TIFF, or the text that it is."""
        if isinstance(document, BadPage):
            return [document]
        if document.data is None:
            return [TextOnly(document.text or "")]
        if bad is not None:
            return [bad]
        try:
            with at_index(index):
                return self._images(document)
        except PageError as error:
            return [BadPage(error)]

    def _images(self, document: DocumentPage) -> Sequence[PageSource]:
        assert document.data is not None  # texts alone have been told apart
        sources = self._stack.enter_context(open_pages([document.data], self._rules, limits=self._limits))
        page = document.page
        if len(sources) == 1 or (page is None and self._every_page):
            return sources
        if isinstance(page, int) and 1 <= page <= len(sources):
            return [sources[page - 1]]
        raise PageError(
            f"the TIFF has {len(sources)} pages: say which with {document.hint}, a number from 1",
            source=sources[0].source,
        )


def _texted(index: int, source: PageSource, text: str, pages: int) -> PageSource:
    if isinstance(source, BadPage):
        return source
    if pages == 1:
        return TextedPage(source, text)
    reason = f"text beside {pages} pages: a text goes with one page, give each page a document of its own"
    return BadPage(PageError(reason, source=source.source, index=index))


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
