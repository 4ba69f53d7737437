"""Text as part of a document: beside its page, or alone. Only bundles whose prompt has a place for it read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ziprerank.inputs.page_source import PageSource
from ziprerank.inputs.sizes import Size
from ziprerank.inputs.wrapped_page import WrappedPage


class TextedPage(WrappedPage):
    """A page with text beside it."""

    __slots__ = ("text",)

    def __init__(self, source: PageSource, text: str) -> None:
        super().__init__(source)
        self.text = text


@dataclass(frozen=True, slots=True)
class TextOnly:
    """A text without a page: nothing goes through the vision tower."""

    text: str
    source: str = "text"
    page: None = None
    size: Size = (0, 0)

    def prepare(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Returns no pixels, [0, 0, 3]."""
        return np.empty((0, 0, 3), np.uint8)

    def picture(self, longest_side: int) -> Image.Image:
        """Returns an empty sheet, since there is no page to look at."""
        return Image.new("RGB", (longest_side, longest_side), "white")


def has_pixels(source: PageSource) -> bool:
    """Whether a document has a page, which is not so of a text alone."""
    return source.size != (0, 0)


def text_of(source: PageSource) -> str | None:
    """Returns the text of a document; None where it is a page alone."""
    text = getattr(source, "text", None)
    return text if isinstance(text, str) else None
