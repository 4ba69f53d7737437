"""One candidate: its final size at once, and its pixels when asked for."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ziprerank.inputs.sizes import Size


@runtime_checkable
class PageSource(Protocol):
    """One candidate page. ``source`` names its origin; ``page`` is its 1-based page in a PDF or a TIFF, else None."""

    @property
    def source(self) -> str: ...
    @property
    def page(self) -> int | None: ...
    @property
    def size(self) -> Size:
        """(height, width) in px of what ``prepare`` returns; known without decoding or rendering."""
        ...

    def prepare(self) -> NDArray[np.uint8]:
        """Returns RGB [h, w, 3] uint8 of ``size``. Raises PageError."""
        ...

    def picture(self, longest_side: int) -> Image.Image:
        """Returns the page for people to look at, not resized for the model. Raises PageError."""
        ...
