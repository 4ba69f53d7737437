"""What becomes of pages that cannot be ranked: the first one ends the call, or they are skipped and named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ziprerank.errors import InvalidInput, PageError
from ziprerank.inputs.sizes import Size

OnBadPage = Literal["raise", "skip"]
ON_BAD_PAGE = "A page or a document that cannot be shown: raise ends the ranking, skip ranks the others and names it."


@dataclass(frozen=True, slots=True)
class BadPage:
    """A candidate that cannot be ranked: a page, or a document that cannot be opened, which counts as one candidate."""

    error: PageError

    @property
    def source(self) -> str:
        return self.error.source

    @property
    def page(self) -> int | None:
        return self.error.page

    @property
    def size(self) -> Size:
        return (0, 0)

    def prepare(self) -> NDArray[np.uint8]:
        raise self.error

    def picture(self, longest_side: int) -> Image.Image:  # noqa: ARG002
        raise self.error


def check_on_bad_page(value: object) -> OnBadPage:
    """Returns ``value``. Raises InvalidInput unless it is ``"raise"`` or ``"skip"``."""
    if value == "raise":
        return "raise"
    if value == "skip":
        return "skip"
    raise InvalidInput(f"on_bad_page {value!r}: must be 'raise' or 'skip'")


def none_left(errors: Iterable[PageError]) -> PageError:
    """Returns the error for candidates of which none can be ranked; it names the first."""
    first, *others = errors
    if not others:
        return first
    return PageError(
        f"none of the {len(others) + 1} candidates can be ranked, and this is the first: {first.reason}",
        source=first.source,
        page=first.page,
        index=first.index,
    )
