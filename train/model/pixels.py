"""Pages as training sees them: images and PDF pages at the size that the vision tower takes, ``[h, w, 3]`` uint8."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pypdfium2  # type: ignore[import-untyped]
import pypdfium2.raw as pdfium_c  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image, ImageOps
from ziprerank.export.checkpoint import Checkpoint
from ziprerank.train.data.examples import PageRef
from ziprerank.train.errors import TrainError

Pixels = NDArray[np.uint8]
LONGEST_SIDE = 1024


@dataclass(frozen=True)
class Sizes:
    """Limits of a page's size: ``factor`` divides both sides; areas are in pixels."""

    factor: int
    min_pixels: int
    max_pixels: int
    longest_side: int
    dpi: float | None = None
    """resolution of PDF pages; lower where ``longest_side`` limits it"""

    @staticmethod
    def of(checkpoint: Checkpoint, longest_side: int | None = None) -> Sizes:
        """The limits of a checkpoint; ``prompt.json`` may set the longest side (else 1024) and a resolution."""
        processor = checkpoint.processor
        prompt: Mapping[str, Any] = checkpoint.optional_json("prompt.json") or {}
        return Sizes(
            factor=processor.patch_size * processor.merge_size,
            min_pixels=processor.min_pixels,
            max_pixels=processor.max_pixels,
            longest_side=longest_side or int(prompt.get("longest_side", LONGEST_SIDE)),
            dpi=prompt.get("dpi"),
        )

    def smart(self, height: float, width: float) -> tuple[int, int]:
        """Qwen2-VL's ``smart_resize``: sides to multiples of the factor, scaled where the area is out of bounds."""
        factor = self.factor
        rows, cols = round(height / factor) * factor, round(width / factor) * factor
        if rows * cols > self.max_pixels:
            scale = math.sqrt(height * width / self.max_pixels)
            return (
                max(factor, math.floor(height / scale / factor) * factor),
                max(factor, math.floor(width / scale / factor) * factor),
            )
        if rows * cols < self.min_pixels:
            scale = math.sqrt(self.min_pixels / (height * width))
            return math.ceil(height * scale / factor) * factor, math.ceil(width * scale / factor) * factor
        return rows, cols


def fit(image: Image.Image, sizes: Sizes) -> Pixels:
    """An image on white at its final size: LANCZOS to the longest side, then bicubic to the factor's multiples."""
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, (255, 255, 255, 255)), layer)
    image = image.convert("RGB")
    scale = sizes.longest_side / max(image.size)
    if scale < 1:
        width, height = (max(1, int(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    rows, cols = sizes.smart(image.height, image.width)
    if (cols, rows) != image.size:
        image = image.resize((cols, rows), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.uint8)


def load(page: PageRef, sizes: Sizes) -> Pixels:
    """A page's pixels. One of a PDF is rendered at its final size, and may be enlarged to it.

    Raises:
        TrainError: the file cannot be read, or has no such page.
    """
    if page.page is None:
        try:
            with Image.open(page.path) as image:
                return fit(image, sizes)
        except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises on damaged files
            raise TrainError(f"{page.path} cannot be read as an image: {error}") from error
    try:
        document = pypdfium2.PdfDocument(page.path)
    except (OSError, pypdfium2.PdfiumError) as error:
        raise TrainError(f"{page.path} cannot be read as a PDF: {error}") from error
    try:
        if page.page >= len(document):
            raise TrainError(f"{page.path} has {len(document)} pages: there is no page {page.page} (from 0)")
        if document.get_formtype() != pdfium_c.FORMTYPE_NONE:
            document.init_forms()  # before the page is loaded
        sheet = document[page.page]
        width, height = sheet.get_size()
        scale = sizes.longest_side / max(width, height)
        if sizes.dpi is not None:
            scale = min(scale, sizes.dpi / 72)
        rows, cols = sizes.smart(max(1, round(height * scale)), max(1, round(width * scale)))
        # straight at the final size: pypdfium2's own render takes one scale for both sides
        bitmap = pypdfium2.PdfBitmap.new_native(cols, rows, pdfium_c.FPDFBitmap_BGR)
        bitmap.fill_rect((255, 255, 255, 255), 0, 0, cols, rows)
        pdfium_c.FPDF_RenderPageBitmap(bitmap, sheet, 0, 0, cols, rows, 0, pdfium_c.FPDF_ANNOT)
        if sheet.formenv is not None:
            pdfium_c.FPDF_FFLDraw(sheet.formenv.raw, bitmap, sheet, 0, 0, cols, rows, 0, pdfium_c.FPDF_ANNOT)
        return np.ascontiguousarray(bitmap.to_numpy()[:, :, ::-1])
    finally:
        document.close()
