"""Decodes raster images to RGB: JPEG, PNG and WebP files, and any Pillow image."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ziprerank.bundle import ImageRules
from ziprerank.errors import InvalidInput
from ziprerank.inputs.sizes import Size, check_pixels, fit_longest_side

_ORIENTATION = 0x0112  # EXIF tag; values 5..8 swap the sides


def image_kind(head: bytes) -> str | None:
    """Returns ``"JPEG"``, ``"PNG"``, ``"WebP"`` or None, from a file's first 12 bytes."""
    if head[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    return None


def open_image(data: Path | bytes, kind: str) -> ImageFile:
    """Opens an image without decoding its pixels.

    The decoder is named, not guessed: only these three formats are ever parsed, and Pillow's process-wide pixel
    limit plays no part.

    Raises:
        InvalidInput: The header is damaged, or announces too many pixels.
    """
    stream = io.BytesIO(data) if isinstance(data, bytes) else io.BytesIO(data.read_bytes())
    try:
        if kind == "JPEG":
            image: ImageFile = JpegImageFile(stream)
        elif kind == "PNG":
            image = PngImageFile(stream)
        else:
            check_webp_header(stream.getbuffer()[:30].tobytes())
            image = WebPImageFile(stream)
    except InvalidInput:
        raise
    except Exception as error:  # Pillow's plugins raise SyntaxError, OSError, ValueError, struct.error, ...
        raise InvalidInput(f"damaged {kind} image: {error}") from error
    return image


def check_webp_header(head: bytes) -> None:
    """Refuses a WebP canvas over the pixel limit. Pillow's WebP decoder allocates the canvas when it opens a file.

    ``head`` is the file's first 30 bytes; VP8X announces any size up to 16,384 squared x 2^20, while VP8 and VP8L
    are bound to 16,383 px a side, which can still be three times the limit.
    """
    chunk = head[12:16]
    if chunk == b"VP8X" and len(head) >= 30:
        width = 1 + int.from_bytes(head[24:27], "little")
        height = 1 + int.from_bytes(head[27:30], "little")
    elif chunk == b"VP8L" and len(head) >= 25:
        bits = int.from_bytes(head[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + ((bits >> 14) & 0x3FFF)
    elif chunk == b"VP8 " and len(head) >= 30:
        width = int.from_bytes(head[26:28], "little") & 0x3FFF
        height = int.from_bytes(head[28:30], "little") & 0x3FFF
    else:
        return
    check_pixels(height, width)


def upright_size(image: Image.Image) -> Size:
    """Returns (height, width) after the EXIF orientation; decodes nothing."""
    width, height = image.size
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF data says nothing about the pixels, so it is ignored, as by to_rgb
        orientation = 1
    return (width, height) if orientation in (5, 6, 7, 8) else (height, width)


def to_rgb(image: Image.Image) -> Image.Image:
    """Decodes ``image`` to an upright RGB image: transparency over white, 16 bits scaled to 8, first frame only.

    Raises:
        InvalidInput: The pixels are damaged, or floats, which have no defined range.
    """
    try:
        image.load()
    except Exception as error:  # as above
        raise InvalidInput(f"damaged image, its pixels cannot be decoded: {error}") from error
    try:
        image = ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF data: the image is taken as it lies, as by upright_size
        image = image.copy()
    if image.mode == "F":
        raise InvalidInput("image of mode F (float) has no defined range: convert it to 8-bit RGB first")
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        page = image.convert("RGBA")
        white = Image.new("RGBA", page.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, page).convert("RGB")
    return image.convert("RGB")


def resize_page(image: Image.Image, size: Size, rules: ImageRules) -> NDArray[np.uint8]:
    """Resizes an RGB image to [h, w, 3] uint8 of ``size``: LANCZOS, then bicubic, as in training."""
    height, width = fit_longest_side(image.height, image.width, rules.longest_side)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    if (size[1], size[0]) != image.size:
        image = image.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.uint8)


def _from_16_bit(image: Image.Image) -> Image.Image:
    levels = np.asarray(image).astype(np.int64)
    low, high = int(levels.min()), int(levels.max())
    if low < 0 or high > 65535:
        raise InvalidInput(
            f"image of mode {image.mode} with values {low}..{high}, known are 0..65535: convert it first"
        )
    grey = ((levels * 255 + 32767) // 65535).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")
