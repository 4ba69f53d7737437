"""Turns a request's documents into candidate pages, and remembers which document each page came from."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack

from PIL import Image

from ziprerank.bundle import ImageRules
from ziprerank.errors import InvalidInput, PageError
from ziprerank.inputs.bad_pages import BadPage, OnBadPage
from ziprerank.inputs.formats import image_kind
from ziprerank.inputs.media import HEAD_BYTES, decode_media, is_pdf, says_pdf
from ziprerank.inputs.page_range import parse_page_range
from ziprerank.inputs.page_source import PageSource
from ziprerank.inputs.pages import Page, PageInput, Pdf, open_pages, read_page, with_pdf_options
from ziprerank.inputs.prepared import Prepared
from ziprerank.inputs.stored_file import StoredFile
from ziprerank.inputs.texted_page import has_pixels, text_of
from ziprerank.inputs.workers.limits import PageLimits
from ziprerank.inputs.workers.pool import Interrupt, Interrupted, check_interrupt
from ziprerank.inputs.wrapped_page import WrappedPage
from ziprerank.serve.failures import reason_of, refuse_page
from ziprerank.serve.pieces import Piece
from ziprerank.serve.settings import Settings
from ziprerank.serve.text_page import TextPage, lay_out
from ziprerank.windows import MAX_WINDOW

AHEAD = MAX_WINDOW  # pages prepared before the engine asks for them; their pixels take 50 MB at 1024 px


def count_pages(data: bytes, password: str | None, rules: ImageRules, limits: PageLimits, interrupt: Interrupt) -> int:
    """Returns how many pages a PDF or an image has; none is decoded. Blocks, so call it in a thread.

    Raises:
        InvalidInput: It cannot be opened.
    """
    head = data[:HEAD_BYTES]
    with interrupt.applied():
        if is_pdf(head):
            return _pages_of(data, password, limits)
        if (kind := image_kind(head)) is not None:
            return len(StoredFile(data, kind, limits).image_pages(kind))
        with open_pages([data], rules, limits=limits) as opened:  # it says what is wrong
            return len(opened)


def _pages_of(pdf: bytes, password: str | None, limits: PageLimits) -> int:
    file = StoredFile(pdf, "PDF", limits, password=password)
    try:
        return file.pages()
    finally:
        file.close()


class Candidates:
    """The candidate pages of one request. Call ``close`` when no thread uses them any more.

    Attributes:
        pages: The candidates.
        origins: The document of each of ``pages``.
    """

    def __init__(
        self,
        rules: ImageRules,
        settings: Settings,
        workers: ThreadPoolExecutor,
        limits: PageLimits | None = None,
        *,
        reads_text: bool = False,
    ) -> None:
        """Opens nothing yet.

        Args:
            rules: How pages are brought to their final size.
            settings: Limits of a request.
            workers: Threads that prepare the pages of this request.
            limits: Where files are read, and what one page may cost; None is the defaults.
            reads_text: Whether the bundle reads words: those of a document are then no page.
        """
        self.pages: list[PreparedPage | BadPage] = []
        self.origins: list[Piece] = []
        self._rules = rules
        self._settings = settings
        self._workers = workers
        self._limits = limits or PageLimits()
        self._reads_text = reads_text
        self._interrupt = Interrupt()
        self._stack = ExitStack()
        self._pixels = 0

    @property
    def good(self) -> int:
        """How many of the pages may be ranked, as far as is known."""
        return sum(isinstance(page, PreparedPage) for page in self.pages)

    def open(self, pieces: Sequence[Piece], *, render_text: bool, on_bad_page: OnBadPage = "raise") -> None:
        """Opens every document without decoding any pixels. Blocks, so call it in a thread.

        Args:
            pieces: Documents without URLs; their data is dropped once it is open.
            render_text: Whether words are drawn as pages.
            on_bad_page: With ``"skip"``, what cannot be opened becomes a ``BadPage``.

        Raises:
            Refused: A document cannot be opened or exceeds a limit; the error names the document.
            Interrupted: ``give_up`` was called.
        """
        for piece in pieces:
            self.check_stop()
            try:
                if piece.fault is not None:
                    raise InvalidInput(piece.fault)
                with self._interrupt.applied():
                    given = self._input(piece, render_text)
                    if piece.beside is not None and self._reads_text:
                        given = Page(given, piece.beside)
                    opened = self._stack.enter_context(
                        open_pages([given], self._rules, on_bad_page, limits=self._limits)
                    )
            except InvalidInput as error:
                if on_bad_page == "raise" or (piece.text and not render_text and not self._reads_text):
                    raise refuse_page(error, piece.param, piece.index) from error
                opened = [BadPage(PageError(reason_of(error), source=piece.param))]
            self._check_count(piece, len(opened))
            self.pages += [
                source if isinstance(source, BadPage) else PreparedPage(source, self._workers, self._interrupt)
                for source in opened
            ]
            self.origins += [piece] * len(opened)
            piece.data = b""  # the pages hold what they need

    def interruptible(self) -> AbstractContextManager[None]:
        """Lets ``give_up`` end what this thread has page workers do meanwhile."""
        return self._interrupt.applied()

    def check_stop(self) -> None:
        """Raises Interrupted after ``give_up``; called at every step of what may take long in this process."""
        if self._interrupt.is_set:
            raise Interrupted

    def ahead(self) -> None:
        """Starts to prepare the pages, where they fit into one pass: of more, only the ranking knows the first."""
        pages = [page for page in self.pages if isinstance(page, PreparedPage) and has_pixels(page)]
        for page in pages if len(pages) <= AHEAD else ():
            page.start()

    @property
    def late(self) -> bool:
        """Whether pages are still being prepared, and none of the others has failed."""
        started = [page.started for page in self.pages if isinstance(page, PreparedPage)]
        begun = [one for one in started if one is not None]
        if any(one.done() and one.exception() is not None for one in begun):
            return False
        return any(not one.done() for one in begun)

    def give_up(self) -> None:
        """Ends what threads and page workers do for this request, for which nobody waits any more; from any thread."""
        self._interrupt.set()

    def close(self) -> None:
        """Ends the pages that are being prepared, cancels the rest, and closes the files."""
        self.give_up()
        for page in self.pages:
            if isinstance(page, PreparedPage):
                page.close()
        self._stack.close()

    def _input(self, piece: Piece, render_text: bool) -> PageInput:
        if piece.text and self._reads_text and not render_text:
            assert isinstance(piece.data, str)
            return Page(text=piece.data)
        if piece.text:
            if not render_text:
                raise InvalidInput(
                    "this is text, and pages are ranked by their images: send base64 or a data URL of an image or a "
                    "PDF, or set render_text to have the text drawn as a page (--render-text does so for all requests)"
                )
            assert isinstance(piece.data, str)
            sheet = lay_out(piece.data, self._rules.longest_side, self._settings.text_font, self.check_stop)
            return TextPage(sheet, self._rules)
        data = piece.data if isinstance(piece.data, bytes) else decode_media(piece.data)
        head = data[:HEAD_BYTES]
        if piece.field == "pdf" or is_pdf(head):
            return self._pdf(piece, data)
        if (kind := image_kind(head)) is None:
            return data
        self._check_pixels(piece, data, kind)
        return with_pdf_options(data, piece.pages, None)

    def _pdf(self, piece: Piece, data: bytes) -> PageInput:
        """Returns the PDF after checking its number of pages, so that the sizes of too many are never read."""
        if not says_pdf(data[:HEAD_BYTES]):
            raise InvalidInput("this is not a PDF" if data else "the file is empty")
        pages = _pages_of(data, piece.password, self._limits)
        if piece.pages is not None:
            pages = len(parse_page_range(piece.pages, pages))
        self._check_count(piece, pages)
        return Pdf(data, piece.pages, piece.password)

    def _check_count(self, piece: Piece, pages: int) -> None:
        most = self._settings.max_pages
        if len(self.pages) + pages > most:
            count = f"{len(self.pages) + pages:,} pages up to here, at most {most:,} in one request"
            raise piece.refuse(f"{count}: send fewer documents, or a page range", 413)

    def _check_pixels(self, piece: Piece, data: bytes, kind: str) -> None:
        """Checks the sizes of the image's pages, which its headers declare, before anything is decoded.

        Raises:
            InvalidInput: There are too many pixels.
            Refused: There are too many pages.
        """
        file = StoredFile(data, kind, self._limits)
        pages = file.image_pages(kind)
        if kind == "TIFF" and piece.pages is not None:
            pages = [pages[number - 1] for number in parse_page_range(piece.pages, len(pages))]
        self._check_count(piece, len(pages))
        for _, (height, width) in pages:
            pixels = height * width
            self._pixels += pixels
            for what, count, most in (
                ("image", pixels, self._settings.max_image_pixels),
                ("images up to here", self._pixels, self._settings.max_total_pixels),
            ):
                if count > most:
                    raise InvalidInput(f"{what} of {count:,} pixels, at most {most:,}: scale down first")


class PreparedPage(WrappedPage):
    """A ``PageSource`` whose pixels the service's workers prepare, either ahead of the engine or when it asks."""

    def __init__(self, source: PageSource, workers: ThreadPoolExecutor, interrupt: Interrupt) -> None:
        super().__init__(source)
        self._workers = workers
        self._interrupt = interrupt
        self._lock = threading.Lock()
        self._pixels: Future[Prepared] | None = None

    @property
    def text(self) -> str | None:
        """The document's words, for bundles that read them."""
        return text_of(self._source)

    @property
    def started(self) -> Future[Prepared] | None:
        """The pixels that are being prepared, or are prepared and not handed over yet."""
        with self._lock:
            return self._pixels

    def start(self) -> Future[Prepared]:
        """Starts to prepare the pixels unless a worker already does, and returns them as a future."""
        with self._lock:
            if self._pixels is None:
                self._pixels = self._workers.submit(self._prepare)
            return self._pixels

    def read(self) -> Prepared:
        """Returns the pixels as the model reads them, and warnings about them. Raises PageError."""
        started = self.start()
        while not wait([started], 0.05).done:
            check_interrupt()  # the ranking is over; the service may still want the page
        prepared = started.result()
        with self._lock:
            self._pixels = None  # the caller holds them now
        return prepared

    def picture(self, longest_side: int) -> Image.Image:
        """Returns the page as an image whose longest side has at most that many pixels."""
        with self._interrupt.applied():
            return self._source.picture(longest_side)

    def close(self) -> None:
        """Cancels the preparation, or waits for its end if it has begun."""
        with self._lock:
            pixels, self._pixels = self._pixels, None
        if pixels is not None and not pixels.cancel():
            pixels.exception()

    def _prepare(self) -> Prepared:
        with self._interrupt.applied():
            return read_page(self._source)
