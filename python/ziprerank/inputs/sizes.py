"""Computes the size that a page is brought to before the vision tower sees it. All sizes are (height, width)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ziprerank.errors import InvalidInput

if TYPE_CHECKING:
    from ziprerank.bundle import ImageRules

MIN_SIDE = 16  # px of a raster page; smaller ones are icons or mistakes, which the minimum area would blow up 100 times
MAX_IMAGE_PIXELS = 89_478_485  # before decoding: 256 MiB of RGB, Pillow's own line; A3 at 600 dpi is 70 million
MAX_ASPECT = 200

Size = tuple[int, int]


def smart_resize(height: int, width: int, rules: ImageRules) -> Size:
    """Applies Qwen3-VL's rule: sides are multiples of ``rules.factor``, the area is within the rules' bounds.

    Each side is rounded half to even. Over the maximum area both are scaled down and floored, under the minimum scaled
    up and ceiled (``smart_resize`` of transformers' Qwen2-VL image processor).

    Raises:
        InvalidInput: One side is more than 200 times the other.
    """
    check_aspect(height, width)
    factor = rules.factor
    new_height, new_width = round(height / factor) * factor, round(width / factor) * factor
    if new_height * new_width > rules.max_pixels:
        shrink = math.sqrt((height * width) / rules.max_pixels)
        new_height = max(factor, math.floor(height / shrink / factor) * factor)
        new_width = max(factor, math.floor(width / shrink / factor) * factor)
    elif new_height * new_width < rules.min_pixels:
        grow = math.sqrt(rules.min_pixels / (height * width))
        new_height = math.ceil(height * grow / factor) * factor
        new_width = math.ceil(width * grow / factor) * factor
    return new_height, new_width


def fit_longest_side(height: int, width: int, longest_side: int) -> Size:
    """Computes the first of an image's two resizes: it never enlarges, and truncates both sides, as in training."""
    longest = max(height, width)
    if longest <= longest_side:
        return height, width
    scale = longest_side / longest
    return max(1, int(height * scale)), max(1, int(width * scale))


def image_size(height: int, width: int, rules: ImageRules) -> Size:
    """Returns the final size of a raster page of ``height`` x ``width`` px. Raises InvalidInput."""
    if height < 1 or width < 1:
        raise InvalidInput(f"image of {width} x {height} px is empty")
    if min(height, width) < MIN_SIDE:
        raise InvalidInput(
            f"image of {width} x {height} px, each side needs at least {MIN_SIDE} px: use a larger image"
        )
    check_pixels(height, width)
    check_aspect(height, width)
    return smart_resize(*fit_longest_side(height, width, rules.longest_side), rules)


def sheet_size(height: float, width: float, rules: ImageRules) -> Size:
    """Final size of a PDF page of ``height`` x ``width`` points, which has no pixels of its own and may be enlarged.

    At the rules' dpi where they have one and the longest side allows it, else at the longest side.
    """
    if not (height > 0 and width > 0 and math.isfinite(height) and math.isfinite(width)):
        raise InvalidInput(f"page of {width:g} x {height:g} pt is empty")
    check_aspect(height, width)
    scale = rules.longest_side / max(height, width)
    if rules.dpi is not None:
        scale = min(scale, rules.dpi / 72)
    return smart_resize(max(1, round(height * scale)), max(1, round(width * scale)), rules)


def check_aspect(height: float, width: float) -> None:
    ratio = max(height, width) / min(height, width)
    if ratio > MAX_ASPECT:
        raise InvalidInput(
            f"size {width:g} x {height:g} has an aspect ratio of {ratio:.1f}, at most {MAX_ASPECT}: crop or split it"
        )


def check_pixels(height: int, width: int) -> None:
    if height * width > MAX_IMAGE_PIXELS:
        raise InvalidInput(
            f"image of {width} x {height} px has {height * width:,} pixels, at most {MAX_IMAGE_PIXELS:,}: "
            "scale it down first"
        )
