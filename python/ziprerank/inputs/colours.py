"""Brings an image of any Pillow mode to 8-bit RGB: transparency over white, levels of 8 to 16 bits and floats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageCms

from ziprerank.errors import InvalidInput

if TYPE_CHECKING:  # imported where a mode needs it: that takes longer than to decode a page
    import numpy as np
    from numpy.typing import NDArray

_DEPTHS = (8, 10, 12, 14, 16)  # bits of what scanners and cameras store in 16-bit or 32-bit levels


def on_white(image: Image.Image) -> Image.Image:
    """Converts a decoded image to RGB over a white background.

    Integer levels wider than 8 bits do not say how many bits are used: white is the highest level of the smallest
    depth of 8, 10, 12, 14 or 16 bits that holds all of the image's levels. Floats are 0..1 or 0..255.

    Raises:
        InvalidInput: The levels are outside these ranges, or the mode cannot be converted.
    """
    key = image.info.get("transparency")
    if image.mode.startswith("I") or image.mode == "F":
        return _from_levels(image, key)
    if image.mode in ("1", "L", "RGB") and isinstance(key, (int, tuple)):
        return _without_key(image, key)
    if image.mode == "La":  # Pillow converts it to LA only
        image = image.convert("LA")
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or (image.mode == "P" and _palette_has_alpha(image)):
        page = image.convert("RGBA")
        white = Image.new("RGBA", page.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, page).convert("RGB")
    try:
        return _from_lab(image) if image.mode == "LAB" else image.convert("RGB")
    except ValueError as error:
        raise InvalidInput(f"image of mode {image.mode} cannot be converted to RGB: convert it first") from error


def _from_levels(image: Image.Image, key: object) -> Image.Image:
    import numpy as np

    levels = np.asarray(image)
    if image.mode == "F":
        return _from_floats(levels)
    return _keyed(_from_integers(levels, image.mode), levels == key if isinstance(key, int) else None)


def _palette_has_alpha(image: Image.Image) -> bool:
    return "transparency" in image.info or (image.palette is not None and image.palette.mode.endswith("A"))


def _without_key(image: Image.Image, key: int | tuple[int, ...]) -> Image.Image:
    """Returns an image of mode 1, L or RGB with its one transparent colour white."""
    import numpy as np

    bare = image.copy()
    del bare.info["transparency"]
    if bare.mode == "1":
        bare, key = bare.convert("L"), 255 if key else 0
    clear = np.asarray(bare) == np.asarray(key)
    return _keyed(bare.convert("RGB"), clear.all(axis=-1) if clear.ndim == 3 else clear)


def _keyed(rgb: Image.Image, clear: NDArray[np.bool_] | None) -> Image.Image:
    if clear is not None:
        import numpy as np

        rgb.paste((255, 255, 255), mask=Image.fromarray(clear.astype(np.uint8) * 255))
    return rgb


def _from_integers(levels: NDArray[np.integer], mode: str) -> Image.Image:
    import numpy as np

    low, high = int(levels.min()), int(levels.max())
    white = next(((1 << bits) - 1 for bits in _DEPTHS if high < 1 << bits), None)
    if low < 0 or white is None:
        raise InvalidInput(f"image of mode {mode} with values {low}..{high}, known are 0..65535: convert it first")
    grey = (levels.astype(np.uint32) * 255 + white // 2) // white
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _from_floats(levels: NDArray[np.float32]) -> Image.Image:
    import numpy as np

    low, high = float(levels.min()), float(levels.max())
    if not (low >= 0 and high <= 255):  # also where one is not a number
        raise InvalidInput(
            f"image of mode F (float) with values {low:g}..{high:g}, known are 0..1 and 0..255: "
            "convert it to 8-bit RGB first"
        )
    grey = np.rint(levels * 255 if high <= 1 else levels)
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _from_lab(image: Image.Image) -> Image.Image:
    converted = ImageCms.profileToProfile(
        image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert converted is not None
    return converted
