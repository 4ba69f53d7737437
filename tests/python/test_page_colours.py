"""Every way in which Pillow holds colours, levels and transparency comes out as the page that it shows."""

from __future__ import annotations

import numpy as np
import pytest
from page_images import encoded, opened, prepared, refusal
from PIL import Image, ImageCms

INK, PAPER = (200, 30, 30), (255, 255, 255)


def drawing(ink: tuple[int, int, int] = INK) -> np.ndarray:
    """[256, 320, 3]: a block of ink on white paper."""
    pixels = np.full((256, 320, 3), 255, np.uint8)
    pixels[40:120, 60:200] = ink
    return pixels


GREY = drawing((90, 90, 90))[..., 0]


def clear_paper() -> Image.Image:
    """The drawing as RGBA, with paper that is transparent and black."""
    pixels = drawing()
    opaque = (pixels != 255).any(axis=-1)
    return Image.fromarray(np.dstack([pixels * opaque[..., None], opaque * np.uint8(255)]))


def test_a_palette_with_transparent_colours() -> None:
    image = clear_paper().quantize(8)
    assert (image.mode, image.palette.mode) == ("P", "RGBA")  # the case under test
    for page in (image, encoded(image, "PNG"), opened(encoded(image, "PNG"))):
        assert np.abs(prepared(page).astype(int) - drawing()).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "RGBa", "LA", "La"])
def test_alpha_channels(mode: str) -> None:
    if mode.startswith("L"):
        grey = np.where(GREY == 255, 0, GREY)
        image = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(((GREY != 255) * 255).astype(np.uint8))])
        expected = np.dstack([GREY] * 3)
    else:
        image, expected = clear_paper(), drawing()
    assert np.abs(prepared(image.convert(mode) if image.mode != mode else image).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("white", [255, 1023, 4095, 16383, 65535])
@pytest.mark.parametrize("kind", [np.uint16, np.int32])
def test_integer_levels_of_any_depth(white: int, kind: type) -> None:
    levels = np.rint(GREY / 255 * white).astype(kind)
    pixels = prepared(Image.fromarray(levels))
    assert np.abs(pixels.astype(int) - GREY[..., None]).max() <= 1


def test_the_12_bits_of_a_scanner_that_stops_short_of_white() -> None:
    pixels = prepared(Image.fromarray(GREY.astype(np.uint16) * 16))  # 4080 of 4095
    assert np.abs(pixels.astype(int) - GREY[..., None]).max() <= 1


def test_levels_in_either_byte_order() -> None:
    for mode, order in (("I;16", "<u2"), ("I;16B", ">u2")):
        image = Image.frombytes(mode, (320, 256), (GREY.astype(np.uint16) * 257).astype(order).tobytes())
        assert (prepared(image) == GREY[..., None]).all()


def test_levels_of_no_known_range_are_refused() -> None:
    for low, high in ((-1, 255), (0, 65536)):
        levels = np.full((64, 64), high, np.int32)
        levels[0, 0] = low
        message = f"image of mode I with values {low}..{high}, known are 0..65535: convert it first"
        assert message in refusal(Image.fromarray(levels))


def test_a_transparent_level_of_16_bits() -> None:
    levels = GREY.astype(np.uint16) * 257
    levels[GREY == 255] = 500
    for page in (data := encoded(Image.fromarray(levels), "PNG", transparency=500), opened(data)):
        assert (prepared(page) == GREY[..., None]).all()
    image = opened(data)
    image.load()
    assert (prepared(image) == GREY[..., None]).all()


def test_a_transparent_colour() -> None:
    pixels = drawing()
    pixels[(pixels == 255).all(axis=-1)] = (1, 2, 3)
    image = Image.fromarray(pixels)
    image.info["transparency"] = (1, 2, 3)
    for page in (image, encoded(image, "PNG")):
        assert (prepared(page) == drawing()).all()


@pytest.mark.parametrize("white", [1.0, 255.0])
def test_floats_from_0_to_1_and_from_0_to_255(white: float) -> None:
    image = Image.fromarray((GREY / 255 * white).astype(np.float32))
    assert image.mode == "F"
    assert (prepared(image) == GREY[..., None]).all()


@pytest.mark.parametrize(("value", "shown"), [(-0.5, "-0.5..0"), (256.0, "0..256"), (np.nan, "nan..nan")])
def test_other_floats_are_refused(value: float, shown: str) -> None:
    levels = np.zeros((64, 64), np.float32)
    levels[0, 0] = value
    message = f"image of mode F (float) with values {shown}, known are 0..1 and 0..255: convert it to 8-bit RGB first"
    assert message in refusal(Image.fromarray(levels))


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "LAB"])
def test_other_colour_spaces(mode: str) -> None:
    image = Image.fromarray(drawing())
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    else:
        image = image.convert(mode)
    assert np.abs(prepared(image).astype(int) - drawing()).max() <= 5
