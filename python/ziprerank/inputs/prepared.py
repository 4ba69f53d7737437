"""A page as it is read: its pixels, and what a caller must know about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Prepared(NamedTuple):
    """A page as the model reads it; plain values, so that another process may make it.

    Attributes:
        pixels: RGB [h, w, 3] uint8.
        warnings: What the pixels do not show of the page, each a sentence that names no page.
    """

    pixels: NDArray[np.uint8]
    warnings: tuple[str, ...] = ()


class TextFile(Protocol):
    """A file whose pages have text: ``StoredFile``."""

    def identity(self) -> tuple[object, ...] | None: ...
    def texts(self, pages: Sequence[int]) -> list[str | None]: ...


class TextPlace(NamedTuple):
    """Where a page's text is: a PDF and its 1-based page."""

    file: TextFile
    page: int


class WarningPage:
    """Base of a ``PageSource`` that knows what its pixels do not show."""

    __slots__ = ()

    def text_place(self) -> TextPlace | None:
        """Returns where the page's text is; None for a page without."""
        return None

    def identity(self) -> tuple[object, ...] | None:
        """Returns what tells the page's pixels from others before they are made; None for a page of no file."""
        return None

    def read(self) -> Prepared:
        """Returns the pixels, of ``size``, and warnings about them. Raises PageError."""
        raise NotImplementedError

    def prepare(self) -> NDArray[np.uint8]:
        """Returns RGB [h, w, 3] uint8 of ``size``. Raises PageError."""
        return self.read().pixels
