"""Opens and decodes raster images: files of the known formats, and any Pillow image."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from ziprerank.errors import InvalidInput
from ziprerank.inputs.colours import on_white
from ziprerank.inputs.formats import decoder, image_kind
from ziprerank.inputs.png import SEVERAL, open_png
from ziprerank.inputs.sizes import MAX_IMAGE_PIXELS, Size, check_pixels, fit_longest_side

_ORIENTATION = 0x0112  # EXIF tag; values 5..8 swap the sides
_WIDTH, _HEIGHT, _SUBFILE = 256, 257, 254  # TIFF tags
_NOT_A_PAGE = 0b101  # bits of _SUBFILE: a smaller copy of another page, or the mask of one
_MAX_FRAMES = 10_000  # of a TIFF; 1 MB has room for 50,000 empty ones
_MOVING = {"GIF": "GIF", "WEBP": "WebP", "PNG": "PNG", "AVIF": "AVIF", "HEIC": "HEIC", "HEIF": "HEIC"}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@contextmanager
def open_image(data: Path | bytes, kind: str, frame: int = 0) -> Iterator[ImageFile]:
    """Opens an image without decoding its pixels; a context manager that closes the file.

    The decoder is named, not guessed: only the known formats are ever parsed, and Pillow's process-wide pixel limit
    plays no part.

    Args:
        data: The file or its bytes.
        kind: Its format, as ``image_kind`` names it.
        frame: 0-based frame of a TIFF, as ``image_pages`` returns it.

    Yields:
        The image, which a caller decodes within the context.

    Raises:
        InvalidInput: The header is damaged or announces too many pixels, or no decoder is installed for its format.
    """
    with _opened(data, kind) as image:
        if frame and not _seek(image, frame):
            raise InvalidInput(f"the {kind} image lost its frame {frame + 1} while it was being ranked: rank it again")
        check_pixels(image.height, image.width)
        yield image


def image_pages(data: Path | bytes, kind: str) -> list[tuple[int, Size]]:
    """Returns the 0-based frame and the upright (height, width) of each page; one, unless the file is a TIFF.

    Frames of a TIFF that are a smaller copy or the mask of another one are not pages.

    Raises:
        InvalidInput: The file cannot be opened (as ``open_image``), or has more than 10,000 frames.
    """
    if kind != "TIFF":
        with open_image(data, kind) as image:
            return [(0, upright_size(image))]
    frames: list[tuple[int, Size, bool]] = []
    with _opened(data, kind) as image:
        while _seek(image, len(frames)):
            if len(frames) == _MAX_FRAMES:
                raise InvalidInput(f"TIFF of more than {_MAX_FRAMES:,} frames: split it")
            tags = image.tag_v2  # type: ignore[attr-defined]
            frames.append((len(frames), upright_size(image), bool(tags.get(_SUBFILE, 0) & _NOT_A_PAGE)))
    pages = [(frame, size) for frame, size, part in frames if not part]
    return pages or [(frame, size) for frame, size, _ in frames]


def stored_file(image: Image.Image) -> tuple[bytes, str] | None:
    """Returns the file behind a Pillow image, and its format, if the file and not the object has to be ranked.

    That is a JPEG or a PNG not yet decoded, since a decoder needs bounds, and a TIFF with several pages, of which the
    object holds one at a time. None for any other image.

    Raises:
        InvalidInput: The other pages of a TIFF cannot be read any more.
    """
    kind = None
    if isinstance(image, PngImageFile) and image.tile and image.tell() == 0:
        kind = "PNG"
    elif type(image) is JpegImageFile and image.tile and not image.decoderconfig:  # which a draft would have
        kind = "JPEG"
    elif isinstance(image, TiffImageFile) and _has_pages(image):
        kind = "TIFF"
    if kind is None:
        return None
    stream = getattr(image, "fp", None) or getattr(image, "_fp", None)
    try:
        at = stream.tell()  # type: ignore[union-attr]
        stream.seek(0)  # type: ignore[union-attr]
        data: bytes = stream.read()  # type: ignore[union-attr]
        stream.seek(at)  # type: ignore[union-attr]
    except Exception:  # it is closed, or a stream that cannot go back
        data = b""
    if image_kind(data[:48]) == kind:
        return data, kind
    if kind == "TIFF":
        raise InvalidInput(
            "the file of this TIFF is closed, so its other pages cannot be read: pass its path or bytes, or "
            "image.copy() for this page alone"
        )
    return None


def frames_left_out(image: Image.Image) -> tuple[str, ...]:
    """Returns a warning if the image is one of several frames, which are pages in a TIFF only; else nothing."""
    kind = image.format or ""
    several = getattr(image, "is_animated", False) or SEVERAL in image.info
    if kind.upper() not in _MOVING or not several:
        return ()
    frame = image.tell()
    which = "the first" if frame == 0 else f"number {frame + 1}"
    return (f"the {_MOVING[kind.upper()]} image has more than one frame, of which only {which} is ranked",)


@contextmanager
def _opened(data: Path | bytes, kind: str) -> Iterator[ImageFile]:
    with io.BytesIO(data) if isinstance(data, bytes) else data.open("rb") as stream:
        try:
            if kind == "PNG":
                image: ImageFile = open_png(stream.read())
            else:
                _check_header(stream.read(30), kind)
                stream.seek(0)
                image = decoder(kind)(stream)
        except (InvalidInput, MemoryError):
            raise
        except Image.DecompressionBombError as error:
            raise InvalidInput(f"image of more than {MAX_IMAGE_PIXELS:,} pixels: scale it down first") from error
        except Exception as error:  # Pillow's plugins raise SyntaxError, OSError, ValueError, struct.error, ...
            raise InvalidInput(f"damaged {kind} image: {error}") from error
        yield image


def _seek(image: Image.Image, frame: int) -> bool:
    try:
        image.seek(frame)
    except EOFError:
        return False
    except MemoryError:
        raise
    except Exception as error:  # as above
        raise InvalidInput(f"damaged image, its frame {frame + 1} cannot be read: {error}") from error
    return True


def _has_pages(image: TiffImageFile) -> bool:
    try:
        return image.n_frames > 1
    except Exception as error:  # as above
        raise InvalidInput(f"damaged TIFF image: {error}") from error


def _check_header(head: bytes, kind: str) -> None:
    """Refuses too many pixels before Pillow opens the file. ``head`` is the file's first 30 bytes."""
    if kind == "WebP":
        check_webp_header(head)
    elif kind == "GIF" and len(head) >= 10:
        check_pixels(int.from_bytes(head[8:10], "little"), int.from_bytes(head[6:8], "little"))


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
    """Returns (height, width) after the orientation; decodes nothing."""
    if isinstance(image, TiffImageFile):
        if not image.tile:  # decoded, and turned by Pillow
            return image.height, image.width
        width, height = image.tag_v2[_WIDTH], image.tag_v2[_HEIGHT]  # Pillow's size may be turned already
    else:
        width, height = image.size
    return (width, height) if _orientation(image) in (5, 6, 7, 8) else (height, width)


def to_rgb(image: Image.Image) -> Image.Image:
    """Decodes ``image`` to an upright RGB image as ``on_white`` converts it; the current frame only.

    Raises:
        InvalidInput: The pixels are damaged, or ``on_white`` refuses them.
    """
    turn = None if isinstance(image, TiffImageFile) else _UPRIGHT.get(_orientation(image))  # Pillow turns a TIFF
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # as above
        raise InvalidInput(f"damaged image, its pixels cannot be decoded: {error}") from error
    return on_white(image if turn is None else image.transpose(turn))


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 to 8; damaged EXIF data says nothing about the pixels, so it is ignored."""
    try:
        found: int = Image.Image.getexif(image).get(_ORIENTATION, 1)  # PngImageFile's own method decodes
    except Exception:  # as above
        return 1
    return found


def resize_page(image: Image.Image, size: Size, longest_side: int) -> Image.Image:
    """Brings an RGB image to ``size``: LANCZOS until it fits ``longest_side``, then bicubic, as in training."""
    height, width = fit_longest_side(image.height, image.width, longest_side)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    if (size[1], size[0]) != image.size:
        image = image.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return image


def scaled(image: Image.Image, longest_side: int) -> Image.Image:
    """Scales an RGB image, up or down, until its longest side is ``longest_side``."""
    scale = longest_side / max(image.size)
    return image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS
    )
