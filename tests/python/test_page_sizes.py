"""Sizes against transformers' Qwen2-VL rule, and their limits."""

from __future__ import annotations

import dataclasses
import random

import pytest
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as reference
from ziprerank.bundle import ImageRules
from ziprerank.errors import InvalidInput
from ziprerank.inputs.sizes import fit_longest_side, image_size, sheet_size, smart_resize

RULES = ImageRules(patch_size=16, merge_size=2, min_pixels=65536, max_pixels=16777216, longest_side=1024)


def test_smart_resize_equals_transformers() -> None:
    draw = random.Random(7)
    sizes = [(draw.randint(1, 9000), draw.randint(1, 9000)) for _ in range(3000)]
    sizes += [(height, width) for height in range(16, 160, 8) for width in range(16, 160, 8)]  # halves: 16, 48, 80, ...
    compared = 0
    for rules in (RULES, ImageRules(14, 2, 4 * 784, 900 * 784, 1024)):
        for height, width in sizes:
            if max(height, width) / min(height, width) > 200:
                with pytest.raises(InvalidInput, match="aspect ratio"):
                    smart_resize(height, width, rules)
                continue
            expected = reference(height, width, rules.factor, rules.min_pixels, rules.max_pixels)
            assert smart_resize(height, width, rules) == expected, (height, width)
            compared += 1
    assert compared > 6000


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((2200, 1700), (1024, 800)),  # a Letter page at 200 dpi: 64 x 50 patches
        ((1700, 2200), (800, 1024)),
        ((1024, 800), (1024, 800)),
        ((768, 1024), (768, 1024)),
        ((16, 16), (256, 256)),  # brought up to the least area
        ((5000, 100), (1856, 64)),  # 1024 x 20 is too small an area
    ],
)
def test_image_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert image_size(*size, RULES) == expected


def test_longest_side_truncates_and_never_enlarges() -> None:
    assert fit_longest_side(2200, 1700, 1024) == (1024, 791)
    assert fit_longest_side(300, 200, 1024) == (300, 200)


def test_pdf_pages_fill_the_longest_side() -> None:
    assert sheet_size(792, 612, RULES) == (1024, 800)
    assert sheet_size(79.2, 61.2, RULES) == (1024, 800)


def test_a_resolution_holds_for_pdf_pages_that_the_longest_side_allows() -> None:
    rules = dataclasses.replace(RULES, dpi=90)
    assert sheet_size(288, 288, rules) == (352, 352)  # 360 px
    assert sheet_size(792, 612, rules) == (992, 768)  # 990 x 765
    assert sheet_size(1684, 1191, rules) == sheet_size(1684, 1191, RULES) == (1024, 736)  # A2 would be 2105 px
    assert image_size(2200, 1700, rules) == image_size(2200, 1700, RULES)  # an image has pixels, no size on paper


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((1, 1), "image of 1 x 1 px, each side needs at least 16 px: use a larger image"),
        ((15, 400), "image of 400 x 15 px, each side needs at least 16 px: use a larger image"),
        (
            (30000, 30000),
            "image of 30000 x 30000 px has 900,000,000 pixels, at most 89,478,485: scale it down first",
        ),
        ((16, 3300), "size 3300 x 16 has an aspect ratio of 206.2, at most 200: crop or split it"),
    ],
)
def test_sizes_out_of_bounds(size: tuple[int, int], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        image_size(*size, RULES)
    assert str(caught.value) == message


def test_empty_pdf_page() -> None:
    with pytest.raises(InvalidInput, match=r"page of 0 x 100 pt is empty"):
        sheet_size(100, 0, RULES)
