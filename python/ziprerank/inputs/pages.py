"""Opens everything that a caller may rank as ``PageSource``s: the final size at once, the pixels when asked for.

A page is a PDF (path, bytes, or ``Pdf`` with a page range: one page for each of its pages), an image file of a known
format (path or bytes; a TIFF has a page for each of its own), a Pillow image, a uint8 array [h, w, 3], or a
``PageSource`` that the caller has opened and closes.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ziprerank.bundle import ImageRules
from ziprerank.errors import InvalidInput, PageError
from ziprerank.inputs.bad_pages import BadPage, OnBadPage
from ziprerank.inputs.formats import KNOWN, image_kind
from ziprerank.inputs.images import frames_left_out, resize_page, scaled, stored_file, to_rgb, upright_size
from ziprerank.inputs.media import HEAD_BYTES, is_pdf, says_pdf
from ziprerank.inputs.page_range import parse_page_range
from ziprerank.inputs.page_source import PageSource
from ziprerank.inputs.prepared import Prepared, TextPlace, WarningPage
from ziprerank.inputs.sizes import Size, image_size, sheet_size
from ziprerank.inputs.stored_file import StoredFile
from ziprerank.inputs.texted_page import TextedPage, TextOnly
from ziprerank.inputs.workers.limits import PageLimits


@dataclass(frozen=True)
class Pdf:
    """A PDF with options.

    Attributes:
        source: Path or bytes of the file.
        pages: 1-based pages: ``"1-20"``, ``"3"``, ``"5-"``, ``"1-4,9"`` or integers; None is all.
        password: Opens an encrypted PDF.
    """

    source: str | Path | bytes | bytearray | memoryview
    pages: str | int | Iterable[int] | None = None
    password: str | None = None


@dataclass(frozen=True)
class TiffPages:
    """Some pages of a TIFF, as ``Pdf`` names those of a PDF."""

    source: Path | bytes
    pages: str


@dataclass(frozen=True)
class Page:
    """A document of a page, a text, or both, for bundles whose prompt has a place for a text.

    Attributes:
        image: A path, bytes, ``Pdf``, Pillow image or array that is one page; None is a text alone.
        text: The text, which is read behind the page; None is a page alone.

    Raises:
        InvalidInput: There is neither, or the text is none.
    """

    image: PageInput | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        if self.text is not None and not isinstance(self.text, str):
            raise InvalidInput(f"the text of a page must be a string, not {type(self.text).__name__}")
        if self.image is None and not self.text:
            raise InvalidInput("a page without an image and without text: give one of them")


PageInput: TypeAlias = (
    "str | Path | bytes | bytearray | memoryview | Pdf | TiffPages | Page | Image.Image | NDArray[np.uint8]"
    " | PageSource"
)


@dataclass(frozen=True, slots=True)
class PdfPage(WarningPage):
    file: StoredFile
    page: int
    size: Size
    points: tuple[float, float]  # (height, width)

    @property
    def source(self) -> str:
        return self.file.name

    def text_place(self) -> TextPlace:
        return TextPlace(self.file, self.page)

    def identity(self) -> tuple[object, ...] | None:
        file = self.file.identity()
        return None if file is None else (*file, self.page, self.size)

    def read(self) -> Prepared:
        return self.file.render(self.page, self.size, warn=True)

    def picture(self, longest_side: int) -> Image.Image:
        scale = longest_side / max(self.points)
        height, width = (max(1, round(side * scale)) for side in self.points)
        return Image.fromarray(self.file.render(self.page, (height, width)).pixels)


@dataclass(frozen=True, slots=True)
class ImagePage(WarningPage):
    """A page of an image file of a format ``kind``.

    ``frame`` is 0-based and counts all frames of a TIFF, ``page`` is 1-based and counts those that are pages.
    """

    file: StoredFile
    kind: str
    size: Size
    upright: Size
    longest_side: int
    frame: int = 0
    page: int | None = None

    @property
    def source(self) -> str:
        return self.file.name

    def identity(self) -> tuple[object, ...] | None:
        file = self.file.identity()
        return None if file is None else (*file, self.kind, self.frame, self.size)

    def read(self) -> Prepared:
        return self.file.image(self.kind, self.frame, self.upright, self.size, self.longest_side, self.page)

    def picture(self, longest_side: int) -> Image.Image:
        return self.file.picture(self.kind, self.frame, longest_side, self.page)


@dataclass(frozen=True, slots=True)
class PillowPage(WarningPage):
    """A Pillow image of the caller, which is decoded in this process."""

    image: Image.Image
    size: Size
    rules: ImageRules
    source: str = "image"
    page: None = None

    def read(self) -> Prepared:
        with _named(self.source):
            image = to_rgb(self.image)
            if image_size(image.height, image.width, self.rules) != self.size:
                raise InvalidInput("the image changed while it was being ranked: rank it again")
            pixels = np.asarray(resize_page(image, self.size, self.rules.longest_side), dtype=np.uint8)
            return Prepared(pixels, frames_left_out(self.image))

    def picture(self, longest_side: int) -> Image.Image:
        with _named(self.source):
            return scaled(to_rgb(self.image), longest_side)


@dataclass(frozen=True, slots=True, eq=False)
class ArrayPage(WarningPage):
    pixels: NDArray[np.uint8]  # [h, w, 3]
    source: str
    size: Size
    rules: ImageRules

    @property
    def page(self) -> None:
        return None

    def read(self) -> Prepared:
        pixels = np.ascontiguousarray(self.pixels)
        if pixels.shape[:2] != self.size:
            pixels = np.asarray(resize_page(Image.fromarray(pixels), self.size, self.rules.longest_side))
        return Prepared(pixels)

    def picture(self, longest_side: int) -> Image.Image:
        return scaled(Image.fromarray(np.ascontiguousarray(self.pixels)), longest_side)


def read_page(source: PageSource) -> Prepared:
    """Returns the pixels of any page, with warnings where it knows some. Raises PageError."""
    return source.read() if isinstance(source, WarningPage) else Prepared(source.prepare())


@contextmanager
def open_pages(
    inputs: PageInput | Sequence[PageInput],
    rules: ImageRules,
    on_bad_page: OnBadPage = "raise",
    *,
    limits: PageLimits | None = None,
) -> Iterator[list[PageSource]]:
    """Opens all candidate pages, in the order given; a context manager that closes files at its end.

    Args:
        inputs: One or more pages of any kind that this module's docstring names.
        rules: How pages are brought to their final size.
        on_bad_page: ``"raise"`` ends with the error of the first page that cannot be opened; ``"skip"`` yields a
            ``BadPage`` in place of each, and of each document that cannot be opened.
        limits: Where files are read, and what one page may cost; None is the defaults.

    Yields:
        The pages, each with its size.

    Raises:
        PageError: A page cannot be ranked; the error has the candidate's 0-based index.
        InvalidInput: There is no page, or an input is of no known type.
        WorkerError: No page worker can be started.
    """
    items: Sequence[object] = [inputs]
    if isinstance(inputs, Sequence) and not isinstance(inputs, (str, bytes, bytearray, memoryview)):
        items = inputs
    sources: list[PageSource] = []
    opening = _Opening(rules, limits or PageLimits())
    try:
        for item in items:
            for source in _or_bad(opening.sources_of(item)):
                if not isinstance(source, BadPage):
                    sources.append(source)
                    continue
                error = source.error.at(len(sources))
                if on_bad_page == "raise":
                    raise error from source.error
                sources.append(BadPage(error))
        if not sources:
            raise InvalidInput("no pages to rank: pass at least one PDF, image or array")
        yield sources
    finally:
        for file in opening.files:
            file.close()


def with_pdf_options(data: Path | bytes, pages: str | None, password: str | None) -> PageInput:
    """Returns ``data`` with a page range and a password where they apply.

    A PDF has both, a TIFF has pages only, and any other image has neither. A file that cannot be read is returned as
    it is, for ``open_pages`` to say so.
    """
    if pages is None and password is None:
        return data
    try:
        head = data[:HEAD_BYTES] if isinstance(data, bytes) else _first_bytes(data, str(data))
    except PageError:
        return data
    kind = image_kind(head)
    if kind == "TIFF" and pages is not None:
        return TiffPages(data, pages)
    return data if kind else Pdf(data, pages, password)


def _or_bad(sources: Iterator[PageSource]) -> Iterator[PageSource]:
    """Yields the pages of a document, and a bad page in place of an error of the document as a whole."""
    try:
        yield from sources
    except PageError as error:
        yield BadPage(error)


class _Opening:
    """Opens the inputs of one call one after the other; ``files`` are those that it has opened."""

    def __init__(self, rules: ImageRules, limits: PageLimits) -> None:
        self.files: list[StoredFile] = []
        self._rules = rules
        self._limits = limits

    def sources_of(self, item: object) -> Iterator[PageSource]:
        """Yields the pages of one input; those that cannot be ranked as ``BadPage``."""
        if isinstance(item, Pdf):
            given = bytes(item.source) if isinstance(item.source, (bytearray, memoryview)) else item.source
            data = given if isinstance(given, bytes) else Path(given)
            name = "PDF bytes" if isinstance(data, bytes) else str(given)
            head = data[:HEAD_BYTES] if isinstance(data, bytes) else _first_bytes(data, name)
            if not says_pdf(head):
                raise PageError("the file is empty" if not head else "this is not a PDF", source=name)
            yield from self._pdf_pages(self._file(data, name, item.password), item.pages)
        elif isinstance(item, TiffPages):
            name = "bytes" if isinstance(item.source, bytes) else str(item.source)
            yield from self._image_pages(self._file(item.source, name), "TIFF", item.pages)
        elif isinstance(item, (str, Path)):
            yield from self._stored_pages(Path(item), _first_bytes(Path(item), str(item)), str(item))
        elif isinstance(item, (bytes, bytearray, memoryview)):
            yield from self._stored_pages(bytes(item), bytes(item[:HEAD_BYTES]), "bytes")
        elif isinstance(item, Page):
            yield from self._texted_pages(item)
        elif isinstance(item, Image.Image):
            yield from self._pillow_pages(item)
        elif isinstance(item, np.ndarray):
            yield _array_page(item, self._rules)
        elif isinstance(item, PageSource):
            yield item
        else:
            kinds = "a path, bytes, Pdf, Page, Pillow image or uint8 array [h, w, 3]"
            raise InvalidInput(f"a page cannot be a {type(item).__name__}: pass {kinds}")

    def _texted_pages(self, item: Page) -> Iterator[PageSource]:
        if item.image is None:
            yield TextOnly(item.text or "")
            return
        pages = list(self.sources_of(item.image))
        if item.text and len(pages) > 1:
            raise InvalidInput(
                f"text beside {len(pages)} pages: a text goes with one page, give each page a Page of its own"
            )
        for page in pages:
            yield TextedPage(page, item.text) if item.text and not isinstance(page, BadPage) else page

    def _file(self, data: Path | bytes, name: str, password: str | None = None) -> StoredFile:
        file = StoredFile(data, name, self._limits, password=password)
        self.files.append(file)
        return file

    def _stored_pages(self, data: Path | bytes, head: bytes, name: str) -> Iterator[PageSource]:
        if not head:
            raise PageError("the file is empty", source=name)
        kind = image_kind(head)
        if kind is not None:
            yield from self._image_pages(self._file(data, name), kind)
        elif is_pdf(head):
            yield from self._pdf_pages(self._file(data, name if isinstance(data, Path) else "PDF bytes"))
        else:
            raise PageError(f"unsupported format, known are {KNOWN}: convert it first", source=name)

    def _pillow_pages(self, image: Image.Image) -> Iterator[PageSource]:
        with _named("image"):
            stored = stored_file(image)
            if stored is None:
                size = image_size(*upright_size(image), self._rules)
        if stored is None:
            yield PillowPage(image, size, self._rules)
        else:
            data, kind = stored
            yield from self._image_pages(self._file(data, "image"), kind)

    def _image_pages(self, file: StoredFile, kind: str, pages: str | None = None) -> Iterator[PageSource]:
        found = file.image_pages(kind)
        with _named(file.name):
            numbers = range(1, len(found) + 1) if pages is None else parse_page_range(pages, len(found))
        for number in numbers:
            frame, upright = found[number - 1]
            page = number if kind == "TIFF" else None
            try:
                with _named(file.name, page):
                    size = image_size(*upright, self._rules)
            except PageError as error:
                yield BadPage(error)
            else:
                yield ImagePage(file, kind, size, upright, self._rules.longest_side, frame, page)

    def _pdf_pages(self, file: StoredFile, pages: str | int | Iterable[int] | None = None) -> Iterator[PageSource]:
        count = file.pages()
        with _named(file.name):
            numbers = range(1, count + 1) if pages is None else parse_page_range(pages, count)
        for number, points in zip(numbers, file.points(numbers), strict=True):
            if isinstance(points, PageError):
                yield BadPage(points)
                continue
            try:
                with _named(file.name, number):
                    size = sheet_size(*points, self._rules)
            except PageError as error:
                yield BadPage(error)
            else:
                yield PdfPage(file, number, size, points)


def _array_page(pixels: NDArray[np.uint8], rules: ImageRules) -> ArrayPage:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise PageError(
            f"array of shape {list(pixels.shape)} and dtype {pixels.dtype}, needed is uint8 [h, w, 3]", source="array"
        )
    with _named("array"):
        size = image_size(pixels.shape[0], pixels.shape[1], rules)
    return ArrayPage(pixels, "array", size, rules)


def _first_bytes(path: Path, name: str) -> bytes:
    try:
        if stat.S_ISREG(path.stat().st_mode):  # else nothing is opened: a pipe would wait for its writer
            with path.open("rb") as file:
                return file.read(HEAD_BYTES)
    except FileNotFoundError:
        raise PageError("no such file", source=name) from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise PageError(f"the file cannot be read: {error}", source=name) from error
    raise PageError(
        "this cannot be read, since it is not a regular file: pass a PDF or an image, or its bytes", source=name
    )


@contextmanager
def _named(source: str, page: int | None = None) -> Iterator[None]:
    """Turns an InvalidInput about pixels into a PageError that names the page."""
    try:
        yield
    except PageError:
        raise
    except InvalidInput as error:
        raise PageError(str(error), source=source, page=page) from error
    except OSError as error:
        raise PageError(f"the file cannot be read: {error}", source=source, page=page) from error
