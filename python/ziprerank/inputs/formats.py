"""The image formats that may be ranked: how a file of each begins, and which decoder reads it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from PIL import features

from ziprerank.errors import InvalidInput

KNOWN = "PDF, JPEG, PNG, WebP, TIFF, GIF, BMP, JPEG 2000, AVIF and HEIC"
"""every format, as errors list them"""

SUFFIXES = (
    ".pdf",
    *(".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp"),
    *(".jp2", ".j2k", ".jpx", ".avif", ".heic", ".heif"),
)
"""lower-case names of files that may be ranked end in one of these"""

_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",  # BigTIFF, of which Pillow reads this byte order only
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",  # a codestream without boxes
}
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes; "BM" alone would also be the start of many a text
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"}

_DECODERS = {
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile", None),
    "WebP": ("PIL.WebPImagePlugin", "WebPImageFile", "webp"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile", None),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile", None),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile", None),
    "JPEG 2000": ("PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile", "jpg_2000"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile", "avif"),
    "HEIC": ("pillow_heif", "HeifImageFile", None),
}


def image_kind(head: bytes) -> str | None:
    """Returns a format's name, such as ``"JPEG"``, or None, from a file's first 48 bytes or more."""
    for start, kind in _STARTS.items():
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head[4:8] == b"ftyp":
        box = head[8 : int.from_bytes(head[:4], "big")]
        brands = {box[:4], *(box[at : at + 4] for at in range(8, len(box), 4))}
        if brands & _AVIF_BRANDS:
            return "AVIF"
        if brands & _HEIC_BRANDS:
            return "HEIC"
    return None


def decoder(kind: str) -> Callable[..., Any]:
    """Returns the Pillow class that opens images of ``kind``, any but PNG.

    Raises:
        InvalidInput: This installation has no decoder for the format.
    """
    module, name, feature = _DECODERS[kind]
    try:
        found: Callable[..., Any] = getattr(import_module(module), name)
    except ImportError:
        found = None  # type: ignore[assignment]
    if found is None or (feature is not None and not features.check(feature)):
        way = "install pillow-heif" if kind == "HEIC" else "install a Pillow that has one"
        raise InvalidInput(f"no decoder for {kind} is installed: {way}, or convert the image to PNG")
    return found
