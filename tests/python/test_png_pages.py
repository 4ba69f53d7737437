"""PNG files as pages: what is checked before they are decoded, and which chunks decide how they look."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from page_images import RULES, encoded, opened, png, png_chunk, prepared, refusal
from PIL import Image
from PIL.ImageFile import ImageFile
from ziprerank.inputs.pages import open_pages
from ziprerank.inputs.workers.limits import PageLimits


def exif(orientation: int) -> bytes:
    """TIFF data with one tag."""
    return struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def halves(after: bytes = b"", *before: bytes) -> bytes:
    """A PNG of 320 x 256 px, black on the left and white on the right."""
    row = b"\0" + bytes(160) + b"\xff" * 160
    return png(320, 256, 8, 0, row * 256, *before, after=after)


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[ImageFile]:
    """The images whose pixels were decoded, in order."""
    seen: list[ImageFile] = []
    load = ImageFile.load

    def counted(self: ImageFile) -> object:
        if self.tile:
            seen.append(self)
        return load(self)

    monkeypatch.setattr(ImageFile, "load", counted)
    return seen


@pytest.mark.parametrize("form", [bytes, opened])
def test_a_png_is_decoded_once(form: Callable[[bytes], object], decodings: list[ImageFile]) -> None:
    with open_pages(form(halves()), RULES, limits=PageLimits("off")) as (source,):
        assert source.size == (256, 320)
        assert not decodings
        source.prepare()
        assert len(decodings) == 1


@pytest.mark.parametrize("form", [bytes, opened])
def test_too_many_pixels_are_refused_without_decoding(
    form: Callable[[bytes], object], decodings: list[ImageFile]
) -> None:
    page = form(png(12_000, 8_000, 1, 0, b"\0" + bytes(1500)))
    assert "image of 12000 x 8000 px has 96,000,000 pixels, at most 89,478,485" in refusal(page, PageLimits("off"))
    assert not decodings


def test_a_damaged_png_is_refused_as_bytes_and_as_a_pillow_image(noise: Callable[..., np.ndarray]) -> None:
    whole = encoded(Image.fromarray(noise(400, 304, 1)), "PNG")
    flipped = bytearray(whole)
    flipped[len(whole) // 4] ^= 0xFF
    for data in (bytes(flipped), whole[: len(whole) // 2], whole[: len(whole) * 9 // 10]):
        for page in (data, opened(data)):
            assert "damaged image, its pixels cannot be decoded" in refusal(page)
    assert prepared(opened(whole)).shape == (384, 320, 3)


def test_a_pillow_image_stays_as_it_was() -> None:
    image = opened(halves())
    prepared(image)
    assert image.getpixel((0, 0)) == 0
    assert image.getpixel((319, 255)) == 255


@pytest.mark.parametrize("where", ["before", "after"])
def test_the_orientation_is_found_on_both_sides_of_the_pixels(where: str) -> None:
    chunk = png_chunk(b"eXIf", exif(6))  # turned clockwise to be shown: the left side is the upper one
    data = halves(chunk) if where == "after" else halves(b"", chunk)
    for page in (data, opened(data)):
        pixels = prepared(page)
        assert pixels.shape == (320, 256, 3)
        assert not pixels[:150].any()
        assert (pixels[170:] == 255).all()


def test_the_orientation_in_a_text_of_imagemagick() -> None:
    raw = exif(6).hex()
    text = f"\nexif\n{len(raw) // 2:8}\n{raw}\n".encode()
    data = halves(b"", png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)))
    assert prepared(data).shape == (320, 256, 3)


def test_damaged_exif_data_are_ignored() -> None:
    assert np.array_equal(prepared(halves(b"", png_chunk(b"eXIf", b"MM\0"))), prepared(halves()))


LONG = bytes(3 << 20)


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(LONG)),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(LONG)),
        png_chunk(b"iCCP", b"profile\0\0" + zlib.compress(LONG)),
        png_chunk(b"tEXt", b"Comment\0" + LONG.replace(b"\0", b"x")) * 30,
        png_chunk(b"zTXt", b"Raw profile type exif\0\0not compressed"),
    ],
    ids=["compressed text", "XMP", "profile", "90 MB of text", "damaged text"],
)
def test_texts_and_profiles_do_not_decide(chunk: bytes) -> None:
    expected = prepared(halves())
    assert np.array_equal(prepared(halves(b"", chunk)), expected)
    assert np.array_equal(prepared(halves(chunk)), expected)


def test_a_transparent_level_of_any_depth_lies_on_white() -> None:
    for depth, level, shown in ((1, 0, 255), (2, 1, 255), (4, 5, 255), (4, 6, 0x66), (8, 77, 255), (16, 0x4D4D, 255)):
        value = {1: 0, 2: 0x55, 4: level * 0x11, 8: level, 16: 0x4D}[depth]
        row = b"\0" + bytes([value]) * (256 * depth // 8)
        key = 5 if (depth, level) == (4, 6) else level
        data = png(256, 256, depth, 0, row * 256, png_chunk(b"tRNS", struct.pack(">H", key)))
        assert (prepared(data) == shown).all(), (depth, level)


def test_a_transparent_colour_of_16_bits_lies_on_white() -> None:
    row = b"\0" + struct.pack(">HHH", 0x0000, 0x8000, 0xFFFF) * 128 + struct.pack(">HHH", 0, 0, 0) * 128
    data = png(256, 256, 16, 2, row * 256, png_chunk(b"tRNS", struct.pack(">HHH", 0x0000, 0x8000, 0xFFFF)))
    pixels = prepared(data)
    assert (pixels[:, :120] == 255).all()
    assert not pixels[:, 136:].any()


def test_the_picture_before_the_frames_of_an_animated_png_is_ranked(noise: Callable[..., np.ndarray]) -> None:
    first, second = (Image.fromarray(noise(256, 320, seed)) for seed in (2, 3))
    data = encoded(first, "PNG", save_all=True, append_images=[second], default_image=True)
    for page in (data, opened(data)):
        with open_pages(page, RULES) as (source,):
            pixels, warnings = source.read()
        assert warnings == ("the PNG image has more than one frame, of which only the first is ranked",)
        assert np.array_equal(pixels, np.asarray(first))
