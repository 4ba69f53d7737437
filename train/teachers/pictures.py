"""Pictures as the parts of a request: data URLs of files that endpoints take, shrunk where asked."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from ziprerank.train.errors import TrainError

ACCEPTED = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
JPEG_QUALITY = 90  # text at 1024 px stays clean


def data_url(image: Path | bytes, longest_side: int | None) -> str:
    """``data:image/...;base64,...`` of an image file or its bytes.

    A file of an accepted type goes as it is; one with a side over ``longest_side`` px is scaled down (Lanczos) and goes
    as JPEG; any other type goes as PNG.

    Raises:
        TrainError: the file cannot be read, or is no picture that Pillow can open.
    """
    name = f"{len(image)} bytes" if isinstance(image, bytes) else str(image)
    try:
        data = image if isinstance(image, bytes) else image.read_bytes()
        with Image.open(io.BytesIO(data)) as picture:
            kind = picture.format or ""
            if longest_side is not None and max(picture.size) > longest_side:
                scale = longest_side / max(picture.size)
                size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
                data, kind = _encoded(picture.convert("RGB").resize(size, Image.Resampling.LANCZOS), "JPEG"), "JPEG"
            elif kind not in ACCEPTED:
                data, kind = _encoded(picture.convert("RGB"), "PNG"), "PNG"
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:  # what Pillow raises on broken files
        raise TrainError(f"the image ({name}) cannot be read: {error}") from error
    return f"data:{ACCEPTED[kind]};base64,{base64.b64encode(data).decode()}"


def _encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=JPEG_QUALITY)
    return buffer.getvalue()
