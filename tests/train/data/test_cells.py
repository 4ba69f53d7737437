"""Labels of cells and slots against loops over every cell, slot and box."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ziprerank.train.data.cells import SLOTS, label_crop, token_cells
from ziprerank.train.data.crops import SKEW, cut, draw_corner, merge_order, scan, vary
from ziprerank.train.data.page_store import StoredPage


def random_boxes(rng: np.random.Generator, count: int, largest: float) -> np.ndarray:
    corner = rng.uniform(-80, 300, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(0, largest, (count, 2))], axis=1).astype(np.float32)


@pytest.mark.parametrize(("rows", "cols", "largest"), [(4, 8, 60), (8, 4, 60), (3, 3, 400), (1, 1, 100)])
def test_token_cells_are_those_of_a_double_loop(rows: int, cols: int, largest: float) -> None:
    boxes = random_boxes(np.random.default_rng(rows * 10 + cols), 200, largest)
    expected = {}
    for number, (left, top, right, bottom) in enumerate(boxes):
        width, height = max(right - left, 1), max(bottom - top, 1)
        for row in range(rows):
            for col in range(cols):
                over_w = min(right, col * 32 + 32) - max(left, col * 32)
                over_h = min(bottom, row * 32 + 32) - max(top, row * 32)
                if over_w >= min(0.3 * width, 8) and over_h >= min(0.5 * height, 16):
                    expected[number, row * cols + col] = min(over_w / min(width, 32), 1)
    which, cell, share = token_cells(boxes, rows, cols)
    found = dict(zip(zip(which.tolist(), cell.tolist(), strict=True), share.tolist(), strict=True))
    assert len(found) == len(which)
    assert found.keys() == expected.keys()
    assert len(expected) > 2
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=1e-5)


def test_no_boxes_no_cells() -> None:
    assert [len(part) for part in token_cells(np.empty((0, 4), np.float32), 3, 3)] == [0, 0, 0]


def page(seed: int) -> StoredPage:
    rng = np.random.default_rng(seed)
    boxes, letters = random_boxes(rng, 80, 70), random_boxes(rng, 150, 30)
    return StoredPage(
        document="d", number=0, words=[], pixels=np.zeros((320, 320), np.uint8),
        tokens=rng.integers(0, 1000, 80).astype(np.int32), token_boxes=boxes, token_words=np.zeros(80, np.int32),
        characters=rng.integers(33, 127, 150).astype(np.uint8), character_boxes=letters,
    )  # fmt: skip


def test_slots_hold_the_character_at_their_centre() -> None:
    source = page(5)
    top, left, rows, cols = 37, 21, 4, 5
    labels = label_crop(source, top, left, rows, cols)
    assert labels.slots.shape == (rows * 2, cols * 2, SLOTS)
    for row in range(rows * 2):
        for col in range(cols * 2):
            for slot in range(SLOTS):
                y = top + row * 16 + (slot // 4) * 8 + 4
                x = left + col * 16 + (slot % 4) * 4 + 2
                expected = 32
                for code, (x0, y0, x1, y1) in zip(source.characters, source.character_boxes, strict=True):
                    if x0 <= x < x1 and y0 <= y < y1:
                        expected = int(code)  # the later one stands
                assert labels.slots[row, col, slot] == expected


def test_a_crops_tokens_are_the_pages() -> None:
    source = page(6)
    labels = label_crop(source, 32, 64, 3, 4)  # on the page's own grid of cells
    which, cell, share = token_cells(source.token_boxes, 10, 10)
    row, col = cell // 10 - 1, cell % 10 - 2
    inside = (row >= 0) & (row < 3) & (col >= 0) & (col < 4)
    tokens, places = source.tokens[which][inside], (row * 4 + col)[inside]
    expected = sorted(zip(places.tolist(), tokens.tolist(), share[inside].round(4).tolist(), strict=True))
    found = zip(labels.cell.tolist(), labels.token.tolist(), labels.weight.round(4).tolist(), strict=True)
    assert sorted(found) == expected
    assert expected


def test_crops_hold_their_token_and_stay_on_the_page() -> None:
    rng = np.random.default_rng(0)
    box = np.array([[200, 100, 230, 112]], np.float32)
    for _ in range(50):
        top, left = draw_corner(rng, box, (320, 480), 2, 3)
        assert 0 <= top <= 320 - 64
        assert 0 <= left <= 480 - 96
        assert top <= 100 < top + 64
        assert left <= 200 < left + 96
        top, left = draw_corner(rng, box, (96, 320), 5, 10)
        assert -64 <= top <= 0  # a page lower than the crop lies within it
        assert left == 0


def test_cut_is_white_beyond_the_page() -> None:
    pixels = np.arange(40 * 50, dtype=np.uint8).reshape(40, 50)
    around = np.full((60, 90), 255, np.uint8)
    around[10:50, 20:70] = pixels
    assert np.array_equal(cut(pixels, -10, -20, 60, 90), around)
    assert np.array_equal(cut(pixels, 5, 7, 20, 30), pixels[5:25, 7:37])


def test_contrast_varies_and_keeps_the_words_legible() -> None:
    rng = np.random.default_rng(1)
    crop = np.where(np.random.default_rng(2).random((32, 64)) < 0.2, 0, 255).astype(np.uint8)
    same = 0
    for _ in range(60):
        varied = vary(rng, crop)
        same += np.array_equal(varied, crop)
        assert abs(varied[crop == 0].astype(float).mean() - varied[crop == 255].astype(float).mean()) > 60
    assert 20 < same < 45


def test_the_text_of_a_scan_is_where_its_boxes_are() -> None:
    pixels = np.full((640, 800), 255, np.uint8)
    boxes = np.array([[300, 200, 330, 212], [620, 420, 650, 432], [300, 420, 312, 432]], np.float32)
    for x0, y0, x1, y1 in boxes.astype(int):
        pixels[y0:y1, x0:x1] = 0
    source = replace(page(0), pixels=pixels, token_boxes=boxes, character_boxes=boxes)
    rng = np.random.default_rng(4)
    moves = []
    for _ in range(40):
        crop, turned = scan(rng, source, 150, 250, 320, 448)
        assert crop.shape == (320, 448)
        assert crop.dtype == np.uint8
        assert np.array_equal(turned.token_boxes, turned.character_boxes)
        for before, (x0, y0, x1, y1) in zip(boxes - [250, 150, 250, 150], turned.token_boxes, strict=True):
            left, top = int(x0) - 250 - 12, int(y0) - 150 - 12
            ink = np.median(crop) - crop[top : top + 36, left : left + 54].astype(float)
            ink[ink < 60] = 0  # noise, and what shines through
            down, across = (np.average(axis, weights=ink) for axis in np.indices(ink.shape))
            assert left + across + 0.5 == pytest.approx((x0 + x1) / 2 - 250, abs=0.6)
            assert top + down + 0.5 == pytest.approx((y0 + y1) / 2 - 150, abs=0.6)
            moves.append(np.hypot(x0 - 250 - before[0], y0 - 150 - before[1]))
    furthest = np.hypot(411 - 224, 276 - 160) * np.sin(np.radians(SKEW))
    assert 0.6 * furthest < max(moves) <= furthest + 0.01


def test_merge_order_is_the_towers() -> None:
    slots = np.arange(4 * 6).reshape(4, 6, 1).astype(np.uint8)
    expected = [slots[2 * r + i, 2 * c + j, 0] for r in range(2) for c in range(3) for i in range(2) for j in range(2)]
    assert merge_order(slots)[:, 0].tolist() == expected
