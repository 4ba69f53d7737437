"""Small images of the kinds that scanners and programs write, each made by code, with the grey level that they show."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from page_images import encoded, png, png_chunk
from PIL import Image, TiffImagePlugin

SIZE = 320, 256  # width, height


def sheet(level: int) -> Image.Image:
    return Image.new("L", SIZE, level)


def frames(kind: str, **options: Any) -> bytes:
    return encoded(sheet(80), kind, save_all=True, append_images=[sheet(200), sheet(140)], **options)


def _deep_tiff(highest: int) -> bytes:
    levels = np.full(SIZE[::-1], highest // 2, np.uint16)
    levels[0, 0] = highest
    return encoded(Image.fromarray(levels), "TIFF")


def _rows(row: bytes, depth: int, colour: int, *before: bytes, after: bytes = b"") -> bytes:
    return png(*SIZE, depth, colour, (b"\0" + row) * SIZE[1], *before, after=after)


def _text(length: int) -> bytes:
    return png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(length)))


def _profile(length: int) -> bytes:
    return png_chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(length)))


def _palette() -> bytes:
    image = Image.new("P", SIZE, 1)
    image.putpalette([0, 0, 0, 80, 80, 80])
    return encoded(image, "PNG", transparency=bytes([0, 128]))  # half transparent over white


def _turned() -> bytes:
    return encoded(Image.new("L", SIZE[::-1], 80), "TIFF", tiffinfo={274: 6})


def _smaller_copy() -> bytes:
    stream = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(stream) as writer:
        for subfile in (0, 1):
            sheet(80).save(writer, "TIFF", tiffinfo={254: subfile})
            writer.newFrame()
    return stream.getvalue()


KINDS: dict[str, tuple[Callable[[], bytes], int, int]] = {  # how it is made, its pages, the level of the first
    "TIFF of three pages": (lambda: frames("TIFF"), 3, 80),
    "TIFF of three pages, LZW": (lambda: frames("TIFF", compression="tiff_lzw"), 3, 80),
    "TIFF that lies on its side": (_turned, 1, 80),
    "TIFF with a smaller copy": (_smaller_copy, 1, 80),
    "TIFF of 12 bits": (lambda: _deep_tiff(4095), 1, 127),
    "TIFF of 16 bits": (lambda: _deep_tiff(65535), 1, 127),
    "BMP": (lambda: encoded(sheet(80), "BMP"), 1, 80),
    "GIF": (lambda: encoded(sheet(80), "GIF"), 1, 80),
    "JPEG 2000": (lambda: encoded(sheet(80), "JPEG2000"), 1, 80),
    "AVIF": (lambda: encoded(sheet(80), "AVIF"), 1, 80),
    "animated GIF": (lambda: frames("GIF"), 1, 80),
    "animated WebP": (lambda: frames("WEBP", lossless=True), 1, 80),
    "animated PNG": (lambda: frames("PNG"), 1, 80),
    "animated AVIF": (lambda: frames("AVIF"), 1, 80),
    "PNG with a half transparent palette": (_palette, 1, 167),
    "PNG of 16 grey bits with a transparent level": (
        lambda: _rows(struct.pack(">H", 0x5050) * SIZE[0], 16, 0, png_chunk(b"tRNS", struct.pack(">H", 0x5050))),
        1,
        255,
    ),
    "PNG of 16 grey bits": (lambda: _rows(struct.pack(">H", 0x5050) * SIZE[0], 16, 0), 1, 80),
    "PNG with 2 MB of text": (lambda: _rows(b"\x50" * SIZE[0], 8, 0, _text(2 << 20)), 1, 80),
    "PNG with 2 MB of colour profile": (lambda: _rows(b"\x50" * SIZE[0], 8, 0, _profile(2 << 20)), 1, 80),
    "PNG that says its orientation after the pixels": (
        lambda: _rows(b"\x50" * SIZE[0], 8, 0, after=png_chunk(b"tEXt", b"Comment\0later")),
        1,
        80,
    ),
}
PILLOW: dict[str, tuple[Callable[[], Image.Image], int]] = {  # images of an application, and the level that they show
    "mode La": (lambda: Image.new("LA", SIZE, (80, 255)).convert("La"), 80),
    "mode I": (lambda: Image.fromarray(np.full(SIZE[::-1], 80, np.int32)), 80),
    "mode PA": (lambda: Image.new("RGBA", SIZE, (0, 0, 0, 0)).convert("PA"), 255),
}
