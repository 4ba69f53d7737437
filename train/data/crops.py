"""Crops of stored pages, as the reading stage sees them: where they lie, in which contrast, and as a scanner's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .page_store import MULTIPLE, StoredPage
from .render import degrade

SKEW = 1.5
"""Degrees by which a scanned page lies askew, at most."""
_BLEED = 0.12  # share of the other side's ink that shines through, at most


def vary(rng: np.random.Generator, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The crop in another contrast: mostly as it is, at times paler, noisy, on grey, or white on dark."""
    kind = rng.random()
    if kind < 0.55:
        return crop
    values: NDArray[np.floating[Any]] = crop.astype(np.float32)
    ink, paper = rng.uniform(0, 110), rng.uniform(190, 255)
    values = ink + values * (paper - ink) / 255
    if kind > 0.9:
        values = 255 - values
    if kind > 0.7:
        values += rng.normal(0, rng.uniform(2, 14), crop.shape)
    return values.clip(0, 255).astype(np.uint8)


def draw_corner(
    rng: np.random.Generator, boxes: NDArray[np.float32], shape: tuple[int, ...], rows: int, cols: int
) -> tuple[int, int]:
    """Corner (top, left) px of a crop of ``rows`` x ``cols`` cells around a random one of ``boxes [m, 4]``, m > 0.

    Within the page of ``shape`` px where the page is large enough; any pixel phase.
    """
    middle = boxes[rng.integers(len(boxes))]
    corner = []
    for low, side, extent in ((middle[1], shape[0], rows * MULTIPLE), (middle[0], shape[1], cols * MULTIPLE)):
        start = int(low - rng.uniform(0, 0.9) * extent)
        corner.append(int(np.clip(start, min(0, side - extent), max(0, side - extent))))
    return corner[0], corner[1]


def cut(pixels: NDArray[np.uint8], top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
    """``[height, width]`` px of a page from (``top``, ``left``) on; white where it reaches over the page's edge."""
    crop = np.full((height, width), 255, dtype=np.uint8)
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + height, pixels.shape[0]), min(left + width, pixels.shape[1])
    crop[y0 - top : y1 - top, x0 - left : x1 - left] = pixels[y0:y1, x0:x1]
    return crop


def scan(
    rng: np.random.Generator, page: StoredPage, top: int, left: int, height: int, width: int
) -> tuple[NDArray[np.uint8], StoredPage]:
    """A crop of the page as a scanner sees it, and the page with its text where it lies then.

    The page is turned about the crop's middle by up to `SKEW` degrees, and something printed on its other side shines
    through; blur, noise, tint and JPEG are `render.degrade`'s.

    Returns:
        ``[height, width]`` px; a page whose boxes, still upright, have gone round with their middles.
    """
    degrees = float(rng.uniform(-SKEW, SKEW))
    spare = int(np.ceil(np.sin(np.radians(SKEW)) * max(height, width) / 2)) + 2  # what the turn brings in
    around = top - spare, left - spare, height + 2 * spare, width + 2 * spare
    front, back = cut(page.pixels, *around), cut(page.pixels[::-1, ::-1], *around)
    ink = np.maximum(255.0 - front, rng.uniform(0, _BLEED) * (255.0 - back))
    turned = Image.fromarray((255 - ink).astype(np.uint8)).rotate(degrees, Image.Resampling.BICUBIC, fillcolor=255)
    crop = np.asarray(turned)[spare : spare + height, spare : spare + width]
    crop = degrade(np.repeat(crop[..., None], 3, axis=2), rng, rotation=0, quality=60).mean(2).astype(np.uint8)
    middle = np.array([left + width / 2, top + height / 2], dtype=np.float32)
    token_boxes, character_boxes = (turn(boxes, middle, degrees) for boxes in (page.token_boxes, page.character_boxes))
    return crop, replace(page, token_boxes=token_boxes, character_boxes=character_boxes)


def turn(boxes: NDArray[np.float32], middle: NDArray[np.float32], degrees: float) -> NDArray[np.float32]:
    """Boxes ``[m, 4]`` of the same size whose middles have gone counterclockwise round ``middle``, ``[x, y]`` px."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    centres, halves = (boxes[:, 2:] + boxes[:, :2]) / 2 - middle, (boxes[:, 2:] - boxes[:, :2]) / 2
    moved = middle + centres @ np.array([[cosine, -sine], [sine, cosine]], dtype=np.float32)
    return np.concatenate([moved - halves, moved + halves], axis=1).astype(np.float32)


def merge_order(slots: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``[rows * 2, cols * 2, s]`` row by row -> ``[patches, s]`` in the tower's order, 2 x 2 blocks together."""
    rows, cols = slots.shape[0] // 2, slots.shape[1] // 2
    return slots.reshape(rows, 2, cols, 2, -1).transpose(0, 2, 1, 3, 4).reshape(rows * cols * 4, -1)
