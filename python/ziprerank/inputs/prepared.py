"""A page as it is read: its pixels, and what a caller must know about them."""

from __future__ import annotations

from typing import NamedTuple

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


class WarningPage:
    """Base of a ``PageSource`` that knows what its pixels do not show."""

    __slots__ = ()

    def read(self) -> Prepared:
        """Returns the pixels, of ``size``, and warnings about them. Raises PageError."""
        raise NotImplementedError

    def prepare(self) -> NDArray[np.uint8]:
        """Returns RGB [h, w, 3] uint8 of ``size``. Raises PageError."""
        return self.read().pixels
