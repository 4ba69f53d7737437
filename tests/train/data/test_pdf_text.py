"""Words and boxes of PDF pages against pages made with words at known places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pypdfium2 as pdfium
import pytest
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas
from ziprerank.train.data.pdf_text import Word, render, words

PLACES = {"Budget": (40.0, 250.0), "harbour,": (120.0, 250.0), "2024": (60.0, 60.0)}
SIZE = (240, 300)  # points
SCALE = 2


def page_with(path: Path, *, rotate: int = 0, crop: tuple[float, float, float, float] | None = None) -> pdfium.PdfPage:
    canvas = Canvas(str(path), pagesize=SIZE)
    canvas.setFont("Helvetica", 16)
    for text, (x, y) in PLACES.items():
        canvas.drawString(x, y, text)
    canvas.save()
    page = pdfium.PdfDocument(path)[0]
    if crop:
        page.set_cropbox(*crop)
    page.set_rotation(rotate)
    return page


def ink_inside(pixels: np.ndarray, word: Word) -> tuple[float, np.ndarray]:
    """Share of the page's ink in the word's box (with a pixel around it), and a copy of the page without it."""
    left, top = np.floor(word.boxes[:, :2].min(0)).astype(int) - 1
    right, bottom = np.ceil(word.boxes[:, 2:].max(0)).astype(int) + 1
    darkness = 255.0 - pixels
    rest = darkness.copy()
    rest[max(top, 0) : bottom, max(left, 0) : right] = 0
    return 1 - rest.sum() / darkness.sum(), (255 - rest).astype(np.uint8)


def test_words_stand_where_they_were_drawn(tmp_path: Path) -> None:
    page = page_with(tmp_path / "a.pdf")
    found = words(page, SIZE[1] * SCALE, SIZE[0] * SCALE)
    assert [word.text for word in found] == list(PLACES)
    for word in found:
        x, y = PLACES[word.text]
        assert word.boxes.shape == (len(word.text), 4)
        assert word.boxes.dtype == np.float32
        for index in range(len(word.text)):
            left = (x + stringWidth(word.text[:index], "Helvetica", 16)) * SCALE
            right = (x + stringWidth(word.text[: index + 1], "Helvetica", 16)) * SCALE
            assert word.boxes[index, 0] == pytest.approx(left, abs=1)
            assert word.boxes[index, 2] == pytest.approx(right, abs=1)
        baseline = (SIZE[1] - y) * SCALE
        assert (word.boxes[:, 1] < baseline - 0.7 * 16 * SCALE).all()
        assert (word.boxes[:, 3] > baseline).all()
        assert (word.boxes[:, 3] - word.boxes[:, 1] < 1.6 * 16 * SCALE).all()


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
@pytest.mark.parametrize("crop", [None, (20.0, 30.0, 220.0, 290.0)])
def test_boxes_cover_the_ink_of_rotated_and_cropped_pages(
    tmp_path: Path, rotate: int, crop: tuple[float, float, float, float] | None
) -> None:
    page = page_with(tmp_path / "a.pdf", rotate=rotate, crop=crop)
    width, height = (round(side * SCALE) for side in page.get_size())
    pixels = render(page, height, width)
    assert pixels.shape == (height, width)
    assert (pixels < 128).any()
    shares = []
    for word in words(page, height, width):
        share, pixels = ink_inside(pixels, word)
        shares.append(share)
        box = (*word.boxes[:, :2].min(0), *word.boxes[:, 2:].max(0))
        assert box[2] - box[0] < 70 * SCALE
        assert box[3] - box[1] < 30 * SCALE
    assert min(shares) > 0.001  # every box takes some
    assert (pixels == 255).all()  # together they take all


def test_stretched_pictures_stretch_their_boxes(tmp_path: Path) -> None:
    page = page_with(tmp_path / "a.pdf")
    plain, wide = words(page, 300, 240), words(page, 300, 480)
    for one, other in zip(plain, wide, strict=True):
        np.testing.assert_allclose(one.boxes * [2, 1, 2, 1], other.boxes, atol=0.02)


def test_ligatures_are_taken_apart(tmp_path: Path) -> None:
    from matplotlib import get_data_path
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    pdfmetrics.registerFont(TTFont("DejaVu", f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf"))
    canvas = Canvas(str(tmp_path / "a.pdf"), pagesize=SIZE)
    canvas.setFont("DejaVu", 16)
    canvas.drawString(30, 200, "o\ufb03ce x\u00b2")
    canvas.save()
    found = words(pdfium.PdfDocument(tmp_path / "a.pdf")[0], 300, 240)
    assert [word.text for word in found] == ["office", "x2"]
    boxes = found[0].boxes
    assert (boxes[1] == boxes[2]).all()
    assert (boxes[2] == boxes[3]).all()
    assert boxes[0, 2] <= boxes[1, 0] + 0.5


def test_grey_is_as_dark_as_what_was_drawn(tmp_path: Path) -> None:
    canvas = Canvas(str(tmp_path / "a.pdf"), pagesize=SIZE)
    for number, grey in enumerate((0.0, 0.5, 0.8)):
        canvas.setFillGray(grey)
        canvas.rect(20 + 60 * number, 100, 40, 50, stroke=0, fill=1)
    canvas.save()
    pixels = render(pdfium.PdfDocument(tmp_path / "a.pdf")[0], 300, 240)
    for number, grey in enumerate((0.0, 0.5, 0.8)):
        inside = pixels[152:198, 22 + 60 * number : 58 + 60 * number]
        assert abs(inside.astype(int) - round(255 * grey)).max() <= 2
    assert (pixels[:148] == 255).all()
    assert (pixels[202:] == 255).all()
