"""Reads one file where its decoder runs: in a page worker, or in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ziprerank.errors import PageError
from ziprerank.inputs.sizes import Size

if TYPE_CHECKING:  # a page worker imports each of these when it first needs it
    from PIL import Image

    from ziprerank.inputs.pdf import PdfFile

Canvas = Callable[[int, int], memoryview]
"""gives the writable bytes of a picture of (height, width) px, 3 for each pixel"""


class LocalFile:
    """A PDF or an image. Arguments and results are plain values, so that a page worker can be asked in the same words.

    Every method raises PageError, InvalidInput or OSError; page numbers are 1-based.
    """

    def __init__(self, data: Path | bytes, name: str, password: str | None = None) -> None:
        self._data = data
        self._name = name
        self._password = password
        self._pdf: PdfFile | None = None

    def pages(self) -> int:
        """Opens the PDF and returns how many pages it has."""
        return self._opened().pages

    def points(self, pages: Sequence[int]) -> list[tuple[float, float] | str]:
        """Returns (height, width) in points of pages of the PDF; of a damaged page the reason."""
        file = self._opened()
        found: list[tuple[float, float] | str] = []
        for page in pages:
            try:
                found.append(file.page_points(page))
            except PageError as error:
                found.append(error.reason)
        return found

    def labels(self) -> list[str]:
        """Returns the printed label of every page of the PDF."""
        return self._opened().labels()

    def texts(self, pages: Sequence[int]) -> list[str | None]:
        """Returns the text of pages of the PDF, None where it does not stand for the page or the page is damaged."""
        file = self._opened()
        found: list[str | None] = []
        for page in pages:
            try:
                found.append(file.text(page))
            except PageError:
                found.append(None)
        return found

    def render(self, page: int, size: Size, warn: bool, canvas: Canvas) -> list[str]:
        """Renders a page of the PDF over white at ``size``; with ``warn`` it returns warnings about it."""
        return list(self._opened().render(page, size, canvas(*size), warn=warn))

    def image_pages(self, kind: str) -> list[tuple[int, Size]]:
        """Returns the frame and the upright size of every page of an image file; decodes nothing."""
        from ziprerank.inputs.images import image_pages

        return image_pages(self._data, kind)

    def image(self, kind: str, frame: int, upright: Size, size: Size, longest_side: int, canvas: Canvas) -> list[str]:
        """Decodes a page of an image file whose upright size is known, brings it to ``size``, and returns warnings."""
        from ziprerank.errors import InvalidInput
        from ziprerank.inputs.images import resize_page

        image, warnings = self._decoded(kind, frame)
        if (image.height, image.width) != tuple(upright):
            raise InvalidInput("the image changed while it was being ranked: rank it again")
        canvas(*size)[:] = resize_page(image, size, longest_side).tobytes()
        return list(warnings)

    def picture(self, kind: str, frame: int, longest_side: int, canvas: Canvas) -> list[str]:
        """Decodes a page of an image file and scales it until its longest side is ``longest_side``."""
        from ziprerank.inputs.images import scaled

        image = scaled(self._decoded(kind, frame)[0], longest_side)
        canvas(image.height, image.width)[:] = image.tobytes()
        return []

    def close(self) -> None:
        """Closes the PDF; it is opened again when it is needed."""
        if self._pdf is not None:
            self._pdf.close()

    def _decoded(self, kind: str, frame: int) -> tuple[Image.Image, tuple[str, ...]]:
        from ziprerank.inputs.images import frames_left_out, open_image, to_rgb

        with open_image(self._data, kind, frame) as image:
            return to_rgb(image), frames_left_out(image)

    def _opened(self) -> PdfFile:
        from ziprerank.inputs.pdf import PdfFile

        if self._pdf is None:
            self._pdf = PdfFile(self._data, name=self._name, password=self._password)
        return self._pdf
