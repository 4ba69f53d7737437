"""Formats besides JPEG, PNG and WebP: a TIFF's pages, single pictures, and animations, which lose frames."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from page_images import RULES, UPRIGHT, encoded, opened, prepared, prepared_pages, refusal
from PIL import Image, TiffImagePlugin, features
from ziprerank.errors import InvalidInput, PageError
from ziprerank.inputs import formats
from ziprerank.inputs.pages import open_pages, with_pdf_options
from ziprerank.integrations.candidates import open_documents
from ziprerank.integrations.documents import DocumentPage
from ziprerank.serve.documents import Candidates
from ziprerank.serve.failures import Refused
from ziprerank.serve.pieces import Piece
from ziprerank.serve.settings import Settings

HAS_AVIF = pytest.mark.skipif(find_spec("PIL.AvifImagePlugin") is None, reason="this Pillow has no AVIF decoder")


def sheets(count: int) -> list[Image.Image]:
    """Bilevel pages of different sizes, each with a black bar as wide as its number says."""
    pages = []
    for number in range(1, count + 1):
        pixels = np.full((256, 256 + 32 * number), 255, np.uint8)
        pixels[100:150, : 40 * number] = 0
        pages.append(Image.fromarray(pixels).convert("1"))
    return pages


def tiff(pages: list[Image.Image], **options: object) -> bytes:
    first, *others = pages
    return encoded(first, "TIFF", save_all=True, append_images=others, **options)


def shown(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("compression", ["raw", "group4", "tiff_lzw", "tiff_adobe_deflate"])
def test_every_page_of_a_tiff_is_a_page(compression: str, tmp_path: Path) -> None:
    pages = sheets(3)
    data = tiff(pages, compression=compression)
    path = tmp_path / "fax.tif"
    path.write_bytes(data)
    with Image.open(path) as image:
        for given in (path, str(path), data, image, opened(data)):
            with open_pages(given, RULES) as sources:
                assert [source.page for source in sources] == [1, 2, 3]
                assert [source.size for source in sources] == [(256, 288), (256, 320), (256, 352)]
                for source, page in zip(sources, pages, strict=True):
                    assert np.array_equal(source.prepare(), shown(page))


def test_a_tiff_that_the_caller_has_decoded_keeps_its_pages() -> None:
    image = opened(tiff(sheets(3)))
    image.seek(1)
    image.load()
    assert [pixels.shape[1] for pixels in prepared_pages(image)] == [288, 320, 352]
    assert image.tell() == 1
    assert np.array_equal(prepared(image.copy()), shown(sheets(3)[1]))


def test_a_closed_tiff_cannot_lose_its_other_pages(tmp_path: Path) -> None:
    path = tmp_path / "fax.tif"
    path.write_bytes(tiff(sheets(2)))
    with Image.open(path) as image:
        assert image.n_frames == 2
        image.load()
    assert "the file of this TIFF is closed, so its other pages cannot be read" in refusal(image)


def test_a_tiff_of_one_page_has_page_1() -> None:
    data = tiff(sheets(1))
    with open_pages(data, RULES) as (source,):
        assert source.page == 1
    assert np.array_equal(prepared(opened(data)), shown(sheets(1)[0]))


@pytest.mark.parametrize("prefix", [b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0"])
def test_a_tiff_in_either_byte_order_and_with_64_bit_offsets(prefix: bytes) -> None:
    order, big = (">" if prefix[:2] == b"MM" else "<"), b"+" in prefix
    offset, count = ("Q", "Q") if big else ("I", "H")
    start = len(prefix) + struct.calcsize(offset)
    pixels = np.repeat([[0], [255]], 128, axis=0).astype(np.uint8).repeat(288, axis=1)
    tags = [(256, 288), (257, 256), (258, 8), (259, 1), (262, 1), (273, start), (277, 1), (278, 256), (279, 288 * 256)]
    entries = b"".join(
        struct.pack(f"{order}HH{offset}{offset}", tag, 16 if big else 4, 1, value) for tag, value in tags
    )
    directory = struct.pack(order + count, len(tags)) + entries + struct.pack(order + offset, 0)
    data = prefix + struct.pack(order + offset, start + pixels.size) + pixels.tobytes() + directory
    assert np.array_equal(prepared(data), np.dstack([pixels] * 3))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_the_orientation_of_a_tiff(orientation: int, compression: str, noise: Callable[..., np.ndarray]) -> None:
    lying = noise(256, 512, 3)
    data = encoded(Image.fromarray(lying), "TIFF", tiffinfo={274: orientation}, compression=compression)
    upright = UPRIGHT[orientation](lying)
    decoded = opened(data)
    decoded.load()
    for page in (data, opened(data), decoded):
        assert np.array_equal(prepared(page), upright)


def test_smaller_copies_in_a_tiff_are_not_pages() -> None:
    stream = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(stream) as writer:
        for page, subfile in ((sheets(3)[0], 0), (sheets(3)[2], 1), (sheets(3)[1], 2), (sheets(3)[2], 4)):
            page.save(writer, "TIFF", tiffinfo={254: subfile})
            writer.newFrame()
    with open_pages(stream.getvalue(), RULES) as sources:
        assert [(source.page, source.size) for source in sources] == [(1, (256, 288)), (2, (256, 320))]
        assert np.array_equal(sources[1].prepare(), shown(sheets(3)[1]))


def test_a_page_range_of_a_tiff(tmp_path: Path) -> None:
    data = tiff(sheets(3))
    path = tmp_path / "fax.tif"
    path.write_bytes(data)
    for given in (data, path):
        with open_pages(with_pdf_options(given, "2-", None), RULES) as sources:
            assert [(source.page, source.size[1]) for source in sources] == [(2, 320), (3, 352)]
    with pytest.raises(PageError, match=r"page range '4' is outside 1\.\.3"):
        prepared_pages(with_pdf_options(data, "4", None))


def test_the_bad_page_of_a_tiff_is_named() -> None:
    data = tiff([sheets(1)[0], Image.new("1", (400, 8))])
    assert "page 2" in refusal(data)
    assert "image of 400 x 8 px, each side needs at least 16 px" in refusal(data)
    whole = tiff(sheets(2), compression="tiff_lzw")
    assert "damaged" in refusal(whole[: len(whole) // 2])


def test_pixels_of_a_tiff_are_counted_before_they_are_decoded() -> None:
    data = bytearray(tiff(sheets(1), compression="group4"))
    (directory,) = struct.unpack_from("<I", data, 4)
    for tag, at in ((256, directory + 2), (257, directory + 14)):  # the first tags, as they are sorted
        assert struct.unpack_from("<H", data, at) == (tag,)
        struct.pack_into("<HHII", data, at, tag, 4, 1, 30_000)
    assert "image of 30000 x 30000 px has 900,000,000 pixels, at most 89,478,485" in refusal(bytes(data))


@pytest.mark.parametrize(
    ("kind", "options", "error"),
    [
        ("BMP", {}, 0),
        ("JPEG2000", {"irreversible": False}, 0),
        ("JPEG2000", {"irreversible": False, "no_jp2": True}, 0),
        pytest.param("AVIF", {"quality": 95}, 3, marks=HAS_AVIF),
    ],
    ids=["BMP", "JP2", "J2K", "AVIF"],
)
def test_other_formats(
    kind: str, options: dict[str, object], error: float, tmp_path: Path, noise: Callable[..., np.ndarray]
) -> None:
    if kind == "JPEG2000" and not features.check("jpg_2000"):
        pytest.skip("this Pillow has no JPEG 2000 decoder")
    pixels = noise(256, 320, 4)
    data = encoded(Image.fromarray(pixels), kind, **options)
    path = tmp_path / "picture"
    path.write_bytes(data)
    for page in (data, path, opened(data)):
        assert np.abs(prepared(page).astype(int) - pixels).mean() <= error
    with open_pages(data, RULES) as (source,):
        assert source.page is None
    assert "damaged" in refusal(data[: len(data) // 2])


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", pytest.param("AVIF", marks=HAS_AVIF)])
def test_the_first_frame_of_an_animation_is_ranked_with_a_warning(kind: str) -> None:
    first, second = (Image.new("L", (320, 256), level) for level in (80, 200))
    still = encoded(first, kind)
    moving = encoded(first, kind, save_all=True, append_images=[second])
    for page, several in ((still, False), (opened(still), False), (moving, True), (opened(moving), True)):
        with open_pages(page, RULES) as (source,):
            pixels, warnings = source.read()
        assert np.abs(pixels.astype(int) - 80).max() <= 3
        assert [
            f"{kind.lower()} image has more than one frame, of which only the first" in told.lower()
            for told in warnings
        ] == [True] * several
    image = opened(moving)
    image.seek(1)
    with open_pages(image, RULES) as (source,):
        pixels, (warning,) = source.read()
    assert np.abs(pixels.astype(int) - 200).max() <= 3
    assert "only number 2 is ranked" in warning
    with open_pages(opened(moving).copy(), RULES) as (source,):
        assert source.read().warnings == ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + bytes(40), "has 3,600,000,000 pixels"),
        (
            b"BM" + struct.pack("<IIIIiiHHIIiiII", 100, 0, 54, 40, 40_000, 40_000, 1, 24, 0, 0, 0, 0, 0, 0),
            "has 1,600,000,000 pixels",
        ),
        (
            b"\xff\x4f\xff\x51"
            + struct.pack(">HHIIIIIIIIH", 41, 0, 40_000, 40_000, 0, 0, 40_000, 40_000, 0, 0, 1)
            + b"\x07\x01\x01\xff\x90",
            "has 1,600,000,000 pixels",
        ),
    ],
    ids=["GIF", "BMP", "JPEG 2000"],
)
def test_headers_with_too_many_pixels(data: bytes, message: str) -> None:
    assert message in refusal(data)


def brands(*names: bytes) -> bytes:
    return struct.pack(">I", 12 + 4 * len(names)) + b"ftyp" + names[0] + bytes(4) + b"".join(names[1:]) + bytes(40)


def test_a_format_is_told_by_its_first_bytes() -> None:
    assert formats.image_kind(brands(b"avif", b"mif1")) == "AVIF"
    assert formats.image_kind(brands(b"mif1", b"miaf", b"heic")) == "HEIC"
    assert formats.image_kind(brands(b"isom", b"mp41")) is None
    assert formats.image_kind(b"BMW has four wheels, and a text is no picture") is None


@pytest.mark.skipif(find_spec("pillow_heif") is not None, reason="pillow-heif is installed")
def test_heic_without_its_decoder_says_what_to_install() -> None:
    assert "no decoder for HEIC is installed: install pillow-heif, or convert the image to PNG" in refusal(
        brands(b"heic", b"mif1")
    )


@pytest.mark.skipif(find_spec("pillow_heif") is None, reason="pillow-heif is not installed")
def test_heic(noise: Callable[..., np.ndarray]) -> None:
    import pillow_heif

    stream, pixels = io.BytesIO(), noise(256, 320, 5)
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(stream, quality=95)
    assert np.abs(prepared(stream.getvalue()).astype(int) - pixels).mean() < 3
    assert "damaged" in refusal(stream.getvalue()[:200])


def test_no_decoder_for_a_known_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats.features, "check", lambda feature: feature != "jpg_2000")
    with pytest.raises(InvalidInput, match="no decoder for JPEG 2000 is installed: install a Pillow that has one"):
        formats.decoder("JPEG 2000")


def test_a_document_of_a_framework_shows_one_page_of_a_tiff() -> None:
    data = tiff(sheets(3))
    with open_documents([DocumentPage(data, 3, "metadata['page']")], RULES) as candidates:
        assert [page.size for page in candidates.pages] == [(256, 352)]
    for page in (None, 4, "iii"):
        with (
            pytest.raises(PageError, match="the TIFF has 3 pages: say which with metadata"),
            open_documents([DocumentPage(data, page, "metadata['page']")], RULES),
        ):
            pass


def test_the_service_counts_the_pages_of_a_tiff() -> None:
    data = tiff(sheets(3))
    with ThreadPoolExecutor(1) as workers:
        candidates = Candidates(RULES, Settings(max_pages=2), workers)
        with pytest.raises(Refused, match="3 pages up to here, at most 2 in one request"):
            candidates.open([Piece(0, None, data)], render_text=False)
        candidates.open([Piece(0, None, data, pages="2-3")], render_text=False)
        assert [page.page for page in candidates.pages] == [2, 3]
        candidates.close()
        small = Candidates(RULES, Settings(max_image_pixels=256 * 330), workers)
        with pytest.raises(Refused, match="image of 90,112 pixels, at most 84,480: scale down first"):
            small.open([Piece(0, None, data)], render_text=False)
        small.close()
