"""Opens PNG files without decoding them: reads what ranking needs from the chunks and leaves the other chunks out.

Pillow decodes a PNG to look for EXIF data behind the pixels, and refuses files with more than 1 MiB of text or colour
profile, which ranking has no use for.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator

from PIL.PngImagePlugin import PngImageFile

from ziprerank.inputs.sizes import check_pixels

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
SEVERAL = "ziprerank: several frames"
"""key of ``info`` for a PNG with more pictures than the one that is opened"""

_MAX_TEXT = 1 << 20  # bytes of a text with an orientation
_GREY, _COLOUR, _PALETTE = 0, 2, 3  # colour types without an alpha channel
_ORIENTATION_TEXTS = ("Raw profile type exif", "XML:com.adobe.xmp")  # ImageMagick's EXIF data, and XMP


def open_png(data: bytes) -> PngImageFile:
    """Opens a PNG with its critical chunks, of which an animation's are not.

    The orientation, the transparent colour, and whether there are several pictures (``SEVERAL``) are in ``info``.

    Raises:
        InvalidInput: The header announces too many pixels.
        Exception: The header is damaged; as Pillow's plugins, SyntaxError, OSError, ValueError and others.
    """
    kept: list[bytes | memoryview] = [_SIGNATURE]
    info: dict[str, object] = {}
    depth = colour = frames = 0
    pixels = first_frame = False
    for name, body, chunk in _chunks(data):
        if name == b"IHDR" and len(body) >= 10:
            check_pixels(int.from_bytes(body[4:8], "big"), int.from_bytes(body[:4], "big"))
            depth, colour = body[8], body[9]
        pixels = pixels or name == b"IDAT"
        if not name[:1].islower() or (name == b"tRNS" and colour == _PALETTE):
            kept.append(chunk)
        elif name == b"tRNS":
            if zlib.crc32(name + bytes(body)) != int.from_bytes(chunk[-4:], "big"):
                raise ValueError("wrong checksum of tRNS")
            if colour in (_GREY, _COLOUR):  # an image with an alpha channel has no use for it
                info["transparency"] = _transparent(bytes(body), depth, colour)
        elif name == b"eXIf":
            info["exif"] = b"Exif\x00\x00" + bytes(body)
        elif name == b"acTL":
            frames = int.from_bytes(body[:4], "big")
        elif name == b"fcTL":
            first_frame = first_frame or not pixels
        elif name in (b"zTXt", b"iTXt", b"tEXt"):
            info |= _orientation_text(name, bytes(body[:80]), body)
    if frames > 1 or (frames and not first_frame):  # the pixels of IDAT may be a picture beside the frames
        info[SEVERAL] = True
    image = PngImageFile(io.BytesIO(b"".join(kept)))
    image.info.update(info)
    return image


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, memoryview]]:
    """Yields (name, body, whole chunk); where the file is damaged or cut, the rest of it under the name ``????``."""
    view, at = memoryview(data), len(_SIGNATURE)
    while at < len(data):
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + length
        if len(name) < 4 or not name.isalpha() or (end > len(data) and name[:1].isupper() and name != b"IHDR"):
            yield b"????", view[:0], view[at:]
            return
        yield name, view[at + 8 : min(end - 4, len(data))], view[at:end]
        if name == b"IEND":
            return
        at = end


def _transparent(body: bytes, depth: int, colour: int) -> int | tuple[int, ...]:
    """Returns the transparent colour in the levels to which Pillow decodes; depths of 1, 2 and 4 become 8 bits."""
    if len(body) < (2 if colour == _GREY else 6):
        raise ValueError("tRNS is too short")
    levels = [int.from_bytes(body[at : at + 2], "big") & ((1 << depth) - 1) for at in range(0, len(body) - 1, 2)]
    if colour == _COLOUR:
        return tuple(level >> (depth - 8) for level in levels[:3])
    return levels[0] if depth == 16 else levels[0] * 255 // ((1 << depth) - 1)


def _orientation_text(name: bytes, start: bytes, body: memoryview) -> dict[str, object]:
    """Returns the text of a chunk under its keyword if it may hold an orientation; a damaged text is left out."""
    keyword = start.partition(b"\x00")[0].decode("latin-1")
    if keyword not in _ORIENTATION_TEXTS:
        return {}
    text = bytes(body[len(keyword) + 1 :])
    packed = name == b"zTXt"
    if packed:
        text = text[1:]
    elif name == b"iTXt":
        packed = text[:1] == b"\x01"
        text = text[2:].partition(b"\x00")[2].partition(b"\x00")[2]
    try:
        text = zlib.decompressobj().decompress(text, _MAX_TEXT) if packed else text[:_MAX_TEXT]
    except zlib.error:
        return {}
    return {keyword: text.decode("latin-1")}
