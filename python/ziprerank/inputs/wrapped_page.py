"""Base of pages that are other pages with something more."""

from __future__ import annotations

from PIL import Image

from ziprerank.inputs.page_source import PageSource
from ziprerank.inputs.prepared import Prepared, TextPlace, WarningPage
from ziprerank.inputs.sizes import Size


class WrappedPage(WarningPage):
    """Base of a page that is another one, in ``_source``, with something more."""

    __slots__ = ("_source",)

    def __init__(self, source: PageSource) -> None:
        self._source = source

    @property
    def source(self) -> str:
        return self._source.source

    @property
    def page(self) -> int | None:
        return self._source.page

    @property
    def size(self) -> Size:
        return self._source.size

    def text_place(self) -> TextPlace | None:
        """Returns where the page's text is; None for a page without."""
        return self._source.text_place() if isinstance(self._source, WarningPage) else None

    def identity(self) -> tuple[object, ...] | None:
        """Returns what tells the page's pixels from others before they are made; None for a page of no file."""
        return self._source.identity() if isinstance(self._source, WarningPage) else None

    def read(self) -> Prepared:
        """Returns the pixels, of ``size``, and warnings about them. Raises PageError."""
        source = self._source
        return source.read() if isinstance(source, WarningPage) else Prepared(source.prepare())

    def picture(self, longest_side: int) -> Image.Image:
        """Returns the page for people to look at. Raises PageError."""
        return self._source.picture(longest_side)
