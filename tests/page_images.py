"""Images as pages, for several test modules: written in memory, opened and prepared as the reranker does it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ziprerank.bundle import ImageRules
from ziprerank.errors import PageError
from ziprerank.inputs.pages import open_pages
from ziprerank.inputs.workers.limits import PageLimits

RULES = ImageRules(patch_size=16, merge_size=2, min_pixels=65536, max_pixels=16777216, longest_side=1024)
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: np.rot90(a, 1),
}
"""what an EXIF orientation does to pixels [h, w, 3]"""
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def opened(data: bytes) -> Image.Image:
    """The Pillow image that an application opens."""
    return Image.open(io.BytesIO(data))


def prepared_pages(page: Any, limits: PageLimits | None = None) -> list[np.ndarray]:
    """The pixels of every page."""
    with open_pages(page, RULES, limits=limits) as sources:
        pages = [source.prepare() for source in sources]
        for source, pixels in zip(sources, pages, strict=True):
            assert pixels.shape == (*source.size, 3)
            assert pixels.dtype == np.uint8
            assert pixels.flags.c_contiguous
        return pages


def prepared(page: Any) -> np.ndarray:
    (pixels,) = prepared_pages(page)
    return pixels


def refusal(page: Any, limits: PageLimits | None = None) -> str:
    with pytest.raises(PageError) as caught:
        prepared_pages(page, limits)
    return str(caught.value)


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *before: bytes, after: bytes = b"") -> bytes:
    """A PNG of filtered ``rows``, with whole chunks before and after them."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(rows))
    return PNG_SIGNATURE + header + b"".join(before) + body + after + png_chunk(b"IEND", b"")
