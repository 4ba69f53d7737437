"""PDF pages: rendered straight at their final size; bad documents and bad pages are named."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2 as pdfium
import pytest
from ziprerank.bundle import ImageRules
from ziprerank.errors import InvalidInput, PageError
from ziprerank.inputs.page_range import parse_page_range
from ziprerank.inputs.pages import Pdf, open_pages
from ziprerank.inputs.pdf import PdfFile
from ziprerank.inputs.stored_file import StoredFile
from ziprerank.inputs.workers.limits import PageLimits

RULES = ImageRules(patch_size=16, merge_size=2, min_pixels=65536, max_pixels=16777216, longest_side=1024)


def opened(page: Any) -> list[tuple[str, int | None, tuple[int, int]]]:
    with open_pages(page, RULES) as sources:
        return [(source.source, source.page, source.size) for source in sources]


def prepare_all(page: Any) -> None:
    with open_pages(page, RULES) as sources:
        for source in sources:
            source.prepare()


def refusal(page: Any) -> str:
    with pytest.raises(PageError) as caught:
        prepare_all(page)
    return str(caught.value)


def square(rotation: int = 0, crop: tuple[float, float, float, float] | None = None) -> bytes:
    """A page of 200 x 400 pt with a red block in its lower left corner, on no background."""
    document = pdfium.PdfDocument.new()
    page = document.new_page(200, 400)
    path = pdfium.raw.FPDFPageObj_CreateNewRect(0, 0, 100, 100)
    pdfium.raw.FPDFPageObj_SetFillColor(path, 255, 0, 0, 255)
    pdfium.raw.FPDFPath_SetDrawMode(path, pdfium.raw.FPDF_FILLMODE_ALTERNATE, False)
    pdfium.raw.FPDFPage_InsertObject(page.raw, path)
    page.gen_content()
    page.set_rotation(rotation)
    if crop:
        page.set_cropbox(*crop)
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


def red(pixels: np.ndarray) -> np.ndarray:
    return (pixels[..., 0] > 200) & (pixels[..., 1] < 60)


def test_pages_and_sizes(make_pdf: Callable[..., bytes], tmp_path: Path) -> None:
    path = tmp_path / "letter.pdf"
    path.write_bytes(make_pdf(3, (612, 792)))
    assert opened(path) == [(str(path), page, (1024, 800)) for page in (1, 2, 3)]
    assert opened(Pdf(path, pages="2-")) == [(str(path), page, (1024, 800)) for page in (2, 3)]
    assert [page for _, page, _ in opened(Pdf(path.read_bytes(), pages=[3, 1]))] == [3, 1]
    assert [page for _, page, _ in opened([path, path])] == [1, 2, 3, 1, 2, 3]


def test_rendered_at_the_final_size_over_white() -> None:
    with open_pages(square(), RULES) as (source,):
        pixels = source.prepare()
    assert pixels.shape == (1024, 512, 3)
    expected = np.zeros((1024, 512), dtype=bool)
    expected[768:, :256] = True
    assert (red(pixels) == expected).mean() > 0.999
    assert (pixels[:700] == 255).all()


def test_a_stretched_page_still_fills_every_pixel() -> None:
    file = StoredFile(square(), "square")
    pixels = file.render(1, (96, 1024)).pixels  # nothing like the page's shape
    assert red(pixels)[73:, :511].all()
    assert not red(pixels)[:71].any()
    file.close()


@pytest.mark.parametrize(
    ("rotation", "corner"),
    [
        (0, (slice(768, 1024), slice(0, 256))),
        (90, (slice(0, 256), slice(0, 256))),
        (180, (slice(0, 256), slice(256, 512))),
        (270, (slice(256, 512), slice(768, 1024))),
    ],
)
def test_rotation(rotation: int, corner: tuple[slice, slice]) -> None:
    with open_pages(square(rotation), RULES) as (source,):
        pixels = source.prepare()
    assert pixels.shape == ((1024, 512, 3) if rotation % 180 == 0 else (512, 1024, 3))
    assert red(pixels)[corner].mean() > 0.98
    assert abs(red(pixels).sum() - 256 * 256) < 1100


def boxed(page: str, above: str = "") -> bytes:
    """A PDF of two pages, the second empty, with entries for the first page and for the node above both."""
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[3 0 R 4 0 R]/Count 2 {above}>>",
        f"<</Type/Page/Parent 2 0 R {page}>>",
        "<</Type/Page/Parent 2 0 R>>",
    ]
    body = "%PDF-1.7\n" + "".join(f"{number} 0 obj{text}endobj\n" for number, text in enumerate(objects, start=1))
    return (body + "trailer<</Root 1 0 R/Size 5>>\n%%EOF\n").encode()


@pytest.mark.parametrize("rotation", ["", "/Rotate 0", "/Rotate 90", "/Rotate 180", "/Rotate 270", "/Rotate -90"])
@pytest.mark.parametrize(
    ("page", "above"),
    [
        ("/MediaBox[0 0 200 400]", ""),
        ("/MediaBox[0 0 200 400]/CropBox[10 20 110 320]", ""),
        ("/MediaBox[0 0 200 400]/CropBox[-50 -50 100 1000]", ""),  # partly outside
        ("/MediaBox[0 0 200 400]/CropBox[100 200 100 200]", ""),  # empty
        ("/MediaBox[200 400 0 0]", ""),
        ("/MediaBox[-100.5 -20.25 99.5 379.75]", ""),
        ("", "/MediaBox[0 0 200 400]"),
        ("", "/MediaBox[0 0 200 400]/CropBox[10 20 110 320]/Rotate 90"),
        ("/CropBox[0 0 50 60]", "/MediaBox[0 0 200 400]/CropBox[10 20 110 320]"),
        ("", ""),
    ],
)
def test_sizes_are_those_of_loaded_pages(page: str, above: str, rotation: str) -> None:
    """Sizes are read without loading pages, and are what a loaded page says of itself."""
    data = boxed(page + rotation, above)
    document = pdfium.PdfDocument(data)
    loaded = [shown.get_size()[::-1] for shown in document]
    document.close()
    file = PdfFile(data, name="boxed")
    assert [file.page_points(number) for number in (1, 2)] == loaded
    file.close()


def test_opening_loads_no_page(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise AssertionError("a page was loaded to find its size")

    monkeypatch.setattr(pdfium.PdfDocument, "get_page", load)
    monkeypatch.setattr(pdfium.PdfDocument, "__getitem__", load)
    with open_pages(sample, RULES, limits=PageLimits("off")) as sources:
        assert len(sources) == 18


def test_crop_box() -> None:
    with open_pages(square(crop=(0, 0, 100, 200)), RULES) as (source,):
        pixels = source.prepare()
    assert pixels.shape == (1024, 512, 3)
    assert red(pixels)[516:].all()
    assert not red(pixels)[:508].any()


def test_rendering_equals_a_resized_large_rendering(sample: Path) -> None:
    """Straight at the final size is what resizing a fine rendering gives, but for the smoothing."""
    with open_pages(Pdf(sample, pages="3"), RULES) as (source,):
        straight = source.prepare().astype(float)
        fine = source.picture(4096).resize(straight.shape[1::-1])
    assert np.abs(straight - np.asarray(fine, dtype=float)).mean() < 3


def test_many_threads_render_the_same_pixels(sample: Path) -> None:
    with open_pages([sample, Pdf(sample.read_bytes())], RULES) as sources:
        alone = [source.prepare() for source in sources[:18]]
        with ThreadPoolExecutor(8) as threads:
            together = list(threads.map(lambda source: source.prepare(), sources * 2))
    for index, pixels in enumerate(together):
        assert np.array_equal(pixels, alone[index % 18])


def test_more_documents_than_are_kept_open(make_pdf: Callable[..., bytes]) -> None:
    with open_pages([make_pdf(1) for _ in range(40)], RULES) as sources:
        first = sources[0].prepare()
        assert all(np.array_equal(source.prepare(), first) for source in sources)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"%PDF-1.7\n", "PDF bytes: the PDF is damaged or empty: "),
        (b"%PDF-1.7\n" + bytes(range(256)) * 20, "PDF bytes: the PDF is damaged or empty: "),
    ],
)
def test_corrupt_documents(data: bytes, message: str) -> None:
    assert refusal(data).startswith("candidate 0 (" + message.replace(": ", "): ", 1))


def test_not_a_pdf(tmp_path: Path) -> None:
    (tmp_path / "empty.pdf").touch()
    (tmp_path / "text.pdf").write_text("hello")
    for page, reason in (
        (tmp_path / "empty.pdf", "the file is empty"),
        (Pdf(tmp_path / "empty.pdf"), "the file is empty"),
        (Pdf(tmp_path / "text.pdf"), "this is not a PDF"),
        (Pdf(tmp_path / "none.pdf"), "no such file"),
    ):
        name = page.source if isinstance(page, Pdf) else page
        assert refusal(page) == f"candidate 0 ({name}): {reason}"


def test_a_document_without_pages() -> None:
    data = (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n"
        b"trailer<</Root 1 0 R>>\n%%EOF\n"
    )
    text = refusal(data)
    assert text.startswith("candidate 0 (PDF bytes): the PDF ")
    assert "no pages" in text or "damaged or empty" in text


def test_encrypted_documents(make_pdf: Callable[..., bytes]) -> None:
    data = make_pdf(2, password="secret")
    way_out = "pass its password with Pdf(..., password=...)"
    assert refusal(data) == f"candidate 0 (PDF bytes): the PDF is encrypted: {way_out}"
    wrong = refusal(Pdf(data, password="guess"))
    assert wrong == f"candidate 0 (PDF bytes): the password does not open this PDF: {way_out}"
    assert len(opened(Pdf(data, password="secret"))) == 2


def test_one_bad_page_is_named(make_pdf: Callable[..., bytes], noise: Callable[..., np.ndarray]) -> None:
    data = make_pdf(5)
    places = [place for place in range(len(data)) if data.startswith(b"/Type /Page\n", place)]
    assert len(places) == 5
    broken = data[: places[2]] + b"/Type /Pagf\n" + data[places[2] + 12 :]
    text = refusal([noise(256, 256, 0), broken])
    assert text.startswith("candidate 3 (PDF bytes, page 3): the page is damaged: ")
    assert [page for _, page, _ in opened(Pdf(broken, pages="1-2,4-5"))] == [1, 2, 4, 5]


def test_a_page_of_extreme_shape(make_pdf: Callable[..., bytes]) -> None:
    text = refusal(make_pdf(1, (10.0, 3000.0)))
    assert text == (
        "candidate 0 (PDF bytes, page 1): size 10 x 3000 has an aspect ratio of 300.0, at most 200: crop or split it"
    )


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("1-3", [1, 2, 3]), ("2", [2]), ("8-", [8, 9, 10]), ("-2", [1, 2]), ("9, 1-2", [9, 1, 2]), ("10", [10])],
)
def test_page_ranges(text: str, numbers: list[int]) -> None:
    assert parse_page_range(text, 10) == numbers


@pytest.mark.parametrize(
    ("pages", "message"),
    [
        ("", "page range '' is not understood: write it as '1-20', '3', '5-' or '1-4,9'"),
        ("a-b", "page range 'a-b' is not understood: write it as '1-20', '3', '5-' or '1-4,9'"),
        ("-", "page range '-' is not understood: write it as '1-20', '3', '5-' or '1-4,9'"),
        ("5-20", "page range '5-20' is outside 1..10: the file has 10 pages"),
        ("4-2", "page range '4-2' is outside 1..10: the file has 10 pages"),
        ("0", "page 0 is outside 1..10: the file has 10 pages"),
        ("1-999999999999", "page range '1-999999999999' is outside 1..10: the file has 10 pages"),
        ([11], "page 11 is outside 1..10: the file has 10 pages"),
        ([], "the page range is empty: give pages such as '1-20'"),
        ([1.5], "page 1.5 is not a whole number"),
        ("1-3,2", "page 2 is named twice: name each page once"),
    ],
)
def test_bad_page_ranges(pages: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_page_range(pages, 10)
    assert str(caught.value) == message


def test_a_bad_range_names_the_file(sample: Path) -> None:
    assert refusal(Pdf(sample, pages="17-30")) == (
        f"candidate 0 ({sample}): page range '17-30' is outside 1..18: the file has 18 pages"
    )
