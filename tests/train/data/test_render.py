"""Passages as images and the look of a scan."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageFont
from ziprerank.train.data.render import degrade, render_passage, wrap
from ziprerank.train.errors import TrainError

SENTENCE = "The early ferry crosses the quiet sound before the harbour wakes and fishermen haul their nets again. "


def ink(pixels: np.ndarray) -> np.ndarray:
    """[H, W] bool: darker than halfway between the darkest and the lightest pixel."""
    grey = pixels.astype(np.float64).mean(2)
    return grey < (grey.min() + grey.max()) / 2


def type_rows(pixels: np.ndarray) -> int:
    """Lines of text: runs of rows with ink."""
    rows = ink(pixels).any(1)
    return int((rows[1:] & ~rows[:-1]).sum()) + int(rows[0])


@pytest.mark.parametrize("words", [1, 5, 40, 150, 1000])
@pytest.mark.parametrize("size", [280, 140, 448])
def test_passage_has_ink_inside_the_canvas(words: int, size: int) -> None:
    pixels = render_passage(" ".join((SENTENCE * 60).split()[:words]), size)
    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.uint8
    dark = ink(pixels)
    assert dark.any()
    assert not dark[:2].any()
    assert not dark[-2:].any()
    assert not dark[:, :1].any()
    assert not dark[:, -1:].any()


def test_short_passages_are_set_larger() -> None:
    heights = []
    for words in (3, 90, 300):
        rows = ink(render_passage(" ".join((SENTENCE * 30).split()[:words]))).any(1)
        starts = np.flatnonzero(rows[1:] & ~rows[:-1])
        ends = np.flatnonzero(rows[:-1] & ~rows[1:])
        heights.append(float(np.mean(ends[: len(starts)] - starts[: len(ends)])))
    assert heights[0] > heights[1] > heights[2]


@pytest.mark.parametrize("words", range(40, 236, 12))
def test_type_is_the_largest_that_fits(words: int) -> None:
    """Against trying every size from the top."""
    text = " ".join((SENTENCE * 30).split()[:words])
    fits = [
        height
        for height in range(9, 21)
        if len(list(wrap(text, ImageFont.load_default(height), 268))) <= int(268 / (height * 1.2))
    ]
    expected = render_passage(text, largest=max(fits), smallest=max(fits))
    np.testing.assert_array_equal(render_passage(text), expected)


def test_long_passage_is_cut_after_the_last_full_line() -> None:
    """More text than fits changes nothing, and what fits is the most at the smallest type."""
    long, longer = render_passage(SENTENCE * 30), render_passage(SENTENCE * 60)
    np.testing.assert_array_equal(long, longer)
    lines = list(wrap(SENTENCE * 30, ImageFont.load_default(9), 280 - 12))
    most = int((280 - 12) / (9 * 1.2))
    kept = " ".join(lines[:most])
    np.testing.assert_array_equal(long, render_passage(kept))
    assert type_rows(long) <= most
    with_last = ink(render_passage(" ".join(lines[: most - 1]), largest=9))
    assert ink(long).sum() > with_last.sum()


def test_wrap_keeps_text_and_measure() -> None:
    font = ImageFont.load_default(14)
    words = (SENTENCE + "x" * 200 + " end").split()
    lines = list(wrap("  ".join(words), font, 150))
    assert "".join(lines).replace(" ", "") == "".join(words)
    assert all(font.getlength(line) <= 151 for line in lines)  # kerning over a blank
    for line, following in pairwise(lines):  # greedy: the next word would not have fitted
        if "x" not in line + following:
            assert font.getlength(f"{line} {following.split()[0]}") > 149


def test_same_generator_same_image() -> None:
    images = [render_passage(SENTENCE, rng=np.random.default_rng(seed)) for seed in (4, 4, *range(20))]
    np.testing.assert_array_equal(images[0], images[1])
    assert len({image.tobytes() for image in images}) > 5


def test_font_files() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    serif = render_passage(SENTENCE, fonts=[folder / "DejaVuSerif.ttf"])
    assert (serif != render_passage(SENTENCE)).any()
    with pytest.raises(TrainError, match="cannot be read as a font"):
        render_passage(SENTENCE, fonts=[Path(__file__)])


@pytest.mark.parametrize("seed", range(5))
def test_scan_look_keeps_the_page_readable(seed: int) -> None:
    clean = render_passage(SENTENCE * 3)
    before = clean.copy()
    scanned = degrade(clean, np.random.default_rng(seed))
    np.testing.assert_array_equal(clean, before)
    assert scanned.shape == clean.shape
    assert scanned.dtype == np.uint8
    assert (scanned != clean).mean() > 0.3
    change = np.abs(scanned.astype(float) - clean)
    assert 0.5 < change.mean() < 70
    # paper stays light, and the ink of the page is still darker than its paper
    assert np.median(scanned) > 170
    assert scanned.min() < 130


def test_scan_look_repeats_and_is_off_at_zero() -> None:
    clean = render_passage(SENTENCE * 3)
    first, again, other = (degrade(clean, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    still = degrade(
        clean, np.random.default_rng(0), rotation=0, blur=0, noise=0, contrast=0, tint=0, quality=95
    )  # JPEG alone
    assert np.abs(still.astype(float) - clean).mean() < 3


def test_each_part_of_the_scan_does_something() -> None:
    clean = render_passage(SENTENCE * 3)
    off = {"rotation": 0.0, "blur": 0.0, "noise": 0.0, "contrast": 0.0, "tint": 0.0}
    base = degrade(clean, np.random.default_rng(3), **off, quality=95).astype(float)
    for part, value in {"rotation": 2.0, "blur": 1.5, "noise": 12.0, "contrast": 0.4, "tint": 0.2}.items():
        changed = degrade(clean, np.random.default_rng(3), **{**off, part: value}, quality=95)
        assert np.abs(changed - base).mean() > 0.5, part
    rough = degrade(clean, np.random.default_rng(3), **off, quality=1)
    assert np.abs(rough.astype(float) - clean).mean() > np.abs(base - clean).mean()


def test_rotation_is_about_the_centre_and_at_most_two_degrees() -> None:
    """A horizontal rule's slope after turning, measured by a line fit."""
    clean = np.full((201, 401, 3), 255, np.uint8)
    clean[99:102] = 0
    off = {"blur": 0.0, "noise": 0.0, "contrast": 0.0, "tint": 0.0}
    slopes = []
    for seed in range(20):
        grey = 255.0 - degrade(clean, np.random.default_rng(seed), **off, quality=95).mean(2)
        columns = np.arange(60, 340)
        centres = (grey[:, columns] * np.arange(201)[:, None]).sum(0) / grey[:, columns].sum(0)
        slope, offset = np.polyfit(columns - 200, centres, 1)
        assert offset == pytest.approx(100, abs=2)
        slopes.append(np.degrees(np.arctan(slope)))
    assert max(map(abs, slopes)) <= 2.05
    assert max(slopes) - min(slopes) > 1


def test_what_cannot_be_rendered() -> None:
    with pytest.raises(TrainError, match="without a word"):
        render_passage(" \n")
    with pytest.raises(TrainError, match="canvas of 16 pixels: at least 32"):
        render_passage("word", 16)
    page, rng = np.zeros((64, 64, 3), np.uint8), np.random.default_rng(0)
    with pytest.raises(TrainError, match=r"float32 \(64, 64, 3\): uint8"):
        degrade(page.astype(np.float32), rng)  # type: ignore[arg-type]
    with pytest.raises(TrainError, match="at least 32"):
        degrade(page[:20], rng)
    with pytest.raises(TrainError, match="rotation by 5 degrees"):
        degrade(page, rng, rotation=5)
    with pytest.raises(TrainError, match="quality 0: 1 to 95"):
        degrade(page, rng, quality=0)
