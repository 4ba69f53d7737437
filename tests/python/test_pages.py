"""Images and arrays as pages: pixels, colours, and what is refused."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_images import RULES, UPRIGHT, encoded, png, prepared, refusal
from PIL import Image
from ziprerank.errors import InvalidInput, PageError
from ziprerank.inputs.pages import Pdf, open_pages, with_pdf_options


def test_an_array_at_its_final_size_is_untouched(noise: Callable[..., np.ndarray]) -> None:
    pixels = noise(256, 320, 0)
    assert np.array_equal(prepared(pixels), pixels)
    assert np.array_equal(prepared(pixels[::-1]), pixels[::-1])  # not contiguous


def test_two_resizes_as_in_training(noise: Callable[..., np.ndarray]) -> None:
    image = Image.fromarray(noise(2200, 1700, 1))
    expected = image.resize((791, 1024), Image.Resampling.LANCZOS).resize((800, 1024), Image.Resampling.BICUBIC)
    assert np.array_equal(prepared(image), np.asarray(expected))
    assert np.array_equal(prepared(np.asarray(image)), np.asarray(expected))


def test_every_way_to_pass_an_image_gives_the_same_pixels(tmp_path: Path, noise: Callable[..., np.ndarray]) -> None:
    image = Image.fromarray(noise(300, 400, 2))
    expected = prepared(image)
    for kind, name, options in (("PNG", "a.png", {}), ("WEBP", "a.webp", {"lossless": True})):
        data = encoded(image, kind, **options)
        (tmp_path / name).write_bytes(data)
        for page in (data, tmp_path / name, str(tmp_path / name), [tmp_path / name]):
            assert np.array_equal(prepared(page), expected)
    jpeg = encoded(image, "JPEG", quality=95)
    assert np.abs(prepared(jpeg).astype(int) - expected).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, noise: Callable[..., np.ndarray]) -> None:
    image = Image.fromarray(noise(256, 512, 3))
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = prepared(encoded(image, "PNG", exif=exif))
    upright = UPRIGHT[orientation](np.asarray(image))
    assert np.array_equal(pixels, upright)


def test_transparency_lies_on_white() -> None:
    half = Image.new("RGBA", (256, 256), (200, 0, 0, 128))
    assert np.abs(prepared(half)[0, 0].astype(int) - (227, 127, 127)).max() <= 1
    clear = Image.new("RGBA", (256, 256), (0, 0, 0, 0))
    assert (prepared(clear) == 255).all()
    assert (prepared(Image.new("LA", (256, 256), (0, 0))) == 255).all()
    palette = Image.new("P", (256, 256), 1)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    assert prepared(palette)[5, 5].tolist() == [40, 50, 60]
    assert (prepared(encoded(palette, "PNG", transparency=1)) == 255).all()


def test_other_colour_modes() -> None:
    assert prepared(Image.new("L", (256, 256), 77))[0, 0].tolist() == [77, 77, 77]
    assert prepared(Image.new("1", (256, 256), 1))[0, 0].tolist() == [255, 255, 255]
    assert prepared(Image.new("CMYK", (256, 256), (255, 0, 0, 0)))[0, 0].tolist() == [0, 255, 255]
    cmyk = prepared(encoded(Image.new("CMYK", (256, 256), (0, 0, 0, 255)), "JPEG"))
    assert cmyk.max() < 8
    ramp = np.linspace(0, 65535, 256 * 256).astype(np.uint16).reshape(256, 256)
    deep = prepared(encoded(Image.fromarray(ramp), "PNG"))
    assert np.abs(deep[..., 0].astype(int) - ramp / 257).max() <= 1
    assert (deep[..., 0] == deep[..., 2]).all()


def test_size_is_known_before_decoding(noise: Callable[..., np.ndarray]) -> None:
    data = encoded(Image.fromarray(noise(512, 256, 4)), "PNG")
    with open_pages(data[: len(data) // 2], RULES) as (source,):
        assert source.size == (512, 256)
        with pytest.raises(PageError, match="bytes: damaged image, its pixels cannot be decoded"):
            source.prepare()


def test_the_picture_is_not_resized_for_the_model(noise: Callable[..., np.ndarray]) -> None:
    with open_pages(noise(100, 300, 5), RULES) as (source,):
        assert source.picture(600).size == (600, 200)


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (np.zeros((1, 1, 3), np.uint8), "array: image of 1 x 1 px, each side needs at least 16 px: use a larger image"),
        (Image.new("RGB", (1, 1)), "image: image of 1 x 1 px, each side needs at least 16 px: use a larger image"),
        (
            png(30000, 30000, 8, 2, b""),
            "bytes: image of 30000 x 30000 px has 900,000,000 pixels, at most 89,478,485: scale it down first",
        ),
        (png(8000, 20, 8, 2, b""), "bytes: size 8000 x 20 has an aspect ratio of 400.0, at most 200: crop or split it"),
        (
            b"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff",
            "bytes: image of 16777216 x 16777216 px has 281,474,976,710,656 pixels, at most 89,478,485: "
            "scale it down first",
        ),
        (b"", "bytes: the file is empty"),
        (
            b"%!PS-Adobe-3.0",
            "bytes: unsupported format, known are PDF, JPEG, PNG, WebP, TIFF, GIF, BMP, JPEG 2000, AVIF and HEIC: "
            "convert it first",
        ),
        (np.zeros((64, 64), np.uint8), "array: array of shape [64, 64] and dtype uint8, needed is uint8 [h, w, 3]"),
        (
            np.zeros((64, 64, 3), np.float32),
            "array: array of shape [64, 64, 3] and dtype float32, needed is uint8 [h, w, 3]",
        ),
    ],
)
def test_bad_images(page: Any, message: str) -> None:
    text = refusal(page)
    assert text.removeprefix("candidate 0 (").replace("): ", ": ", 1) == message


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_corrupt_images(kind: str, noise: Callable[..., np.ndarray]) -> None:
    data = encoded(Image.fromarray(noise(256, 256, 6)), kind)
    assert "damaged" in refusal(data[:40])
    assert "damaged" in refusal(data[: len(data) // 2])


def test_the_bad_candidate_is_named(tmp_path: Path, noise: Callable[..., np.ndarray]) -> None:
    good = noise(256, 256, 7)
    assert refusal([good, good, tmp_path / "none.png"]) == f"candidate 2 ({tmp_path / 'none.png'}): no such file"
    assert "cannot be read" in refusal([tmp_path])


def test_no_pages_and_no_page() -> None:
    with pytest.raises(InvalidInput) as caught, open_pages([], RULES):
        pass
    assert str(caught.value) == "no pages to rank: pass at least one PDF, image or array"
    with pytest.raises(InvalidInput) as caught, open_pages([7], RULES):  # type: ignore[list-item]
        pass
    assert str(caught.value) == (
        "a page cannot be a int: pass a path, bytes, Pdf, Page, Pillow image or uint8 array [h, w, 3]"
    )


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe would wait for its writer, and opening a device may do something."""
    os.mkfifo(tmp_path / "pipe.pdf")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # the name of a socket has at most 107 bytes
        listener.bind("socket.pdf")
        for path in (tmp_path / "pipe.pdf", tmp_path / "socket.pdf", Path("/dev/zero"), tmp_path):
            for page in (path, Pdf(path), str(path)):
                assert refusal(page).startswith(
                    f"candidate 0 ({path}): this cannot be read, since it is not a regular file"
                )
            assert "not a regular file" in refusal(with_pdf_options(path, "1", None))
