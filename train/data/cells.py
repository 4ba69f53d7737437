"""The text under each visual token of a crop: the labels of the reading stage.

A cell is the 32 x 32 px that one visual token covers, a slot an eighth of a 16 x 16 px patch: 4 px wide, 8 px high.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .page_store import MULTIPLE, StoredPage

PATCH = 16
SLOT_WIDTH, SLOT_HEIGHT = 4, 8
SLOTS = (PATCH // SLOT_WIDTH) * (PATCH // SLOT_HEIGHT)
CHARACTERS = 128
"""Classes of a slot: ASCII codes; 0 is a character outside ASCII, 32 is blank."""
_BLANK = 32
_LEAST_WIDTH, _LEAST_HEIGHT = 0.3, 0.5  # a token counts in a cell from this share of its width and height on
_WIDTH_ENOUGH = 8.0  # px: of a long token this much in a cell counts, whatever its share


@dataclass(frozen=True, slots=True)
class CropLabels:
    """Tokens of cells, and characters of slots.

    Attributes:
        cell, token, weight: ``[p]`` each: a token is in a cell, cells counted row by row, with that share of its
            width (of the cell's, where the token is wider), in (0, 1].
        slots: ``[rows * 2, cols * 2, SLOTS]``: the character at the centre of each slot of each patch.
    """

    cell: NDArray[np.int64]
    token: NDArray[np.int64]
    weight: NDArray[np.float32]
    slots: NDArray[np.uint8]


def token_cells(
    boxes: NDArray[np.float32], rows: int, cols: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Which box, which cell and which share: for every box ``[m, 4]`` px and cell of the grid that it lies in.

    It lies in a cell that holds 0.3 of its width, or 8 px, and half its height, or 16 px.
    """
    left, top, right, bottom = boxes.T
    width, height = np.maximum(right - left, 1.0), np.maximum(bottom - top, 1.0)
    first_row, last_row = _span(top, bottom, rows)
    first_col, last_col = _span(left, right, cols)
    which, cell, share = [], [], []
    for down in range(int((last_row - first_row).max(initial=-1)) + 1):
        row = first_row + down
        overlap_h = np.minimum(bottom, (row + 1) * MULTIPLE) - np.maximum(top, row * MULTIPLE)
        for across in range(int((last_col - first_col).max(initial=-1)) + 1):
            col = first_col + across
            overlap_w = np.minimum(right, (col + 1) * MULTIPLE) - np.maximum(left, col * MULTIPLE)
            counts = (
                (overlap_h >= np.minimum(_LEAST_HEIGHT * height, MULTIPLE / 2))
                & (overlap_w >= np.minimum(_LEAST_WIDTH * width, _WIDTH_ENOUGH))
                & (row <= last_row)
                & (col <= last_col)
            )
            chosen = np.nonzero(counts)[0]
            which.append(chosen)
            cell.append((row * cols + col)[chosen])
            share.append(np.clip(overlap_w[chosen] / np.minimum(width[chosen], MULTIPLE), 0.0, 1.0))
    if not which:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    return np.concatenate(which), np.concatenate(cell).astype(np.int64), np.concatenate(share).astype(np.float32)


def label_crop(page: StoredPage, top: int, left: int, rows: int, cols: int) -> CropLabels:
    """Labels of the crop of ``rows`` x ``cols`` cells whose corner is at (``top``, ``left``) px of the page."""
    corner = np.array([left, top, left, top], dtype=np.float32)
    height, width = rows * MULTIPLE, cols * MULTIPLE
    near = _inside(page.token_boxes, top, left, height, width)
    which, cell, share = token_cells(page.token_boxes[near] - corner, rows, cols)
    token = page.tokens[near][which].astype(np.int64)
    near = _inside(page.character_boxes, top, left, height, width)
    slots = _slots(page.characters[near], page.character_boxes[near] - corner, height, width)
    return CropLabels(cell, token, share, slots)


def _span(low: NDArray[np.float32], high: NDArray[np.float32], count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """First and last of ``count`` cells between two edges in px; the last is below the first where there is none."""
    return (
        np.floor(low / MULTIPLE).astype(int).clip(0, None),
        np.floor(high / MULTIPLE).astype(int).clip(None, count - 1),
    )


def _inside(boxes: NDArray[np.float32], top: int, left: int, height: int, width: int) -> NDArray[np.int64]:
    near = (boxes[:, 2] > left) & (boxes[:, 0] < left + width) & (boxes[:, 3] > top) & (boxes[:, 1] < top + height)
    return np.nonzero(near)[0]


def _slots(codes: NDArray[np.uint8], boxes: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
    """The map of slots; where boxes overlap, the later character is kept."""
    down, across = height // SLOT_HEIGHT, width // SLOT_WIDTH
    grid = np.full((down, across), _BLANK, dtype=np.uint8)
    # slots whose centre lies inside the box: (index + 0.5) * size in [first, last)
    x0 = np.ceil(boxes[:, 0] / SLOT_WIDTH - 0.5).astype(int).clip(0, across)
    x1 = np.ceil(boxes[:, 2] / SLOT_WIDTH - 0.5).astype(int).clip(0, across)
    y0 = np.ceil(boxes[:, 1] / SLOT_HEIGHT - 0.5).astype(int).clip(0, down)
    y1 = np.ceil(boxes[:, 3] / SLOT_HEIGHT - 0.5).astype(int).clip(0, down)
    for index in np.nonzero((x1 > x0) & (y1 > y0))[0]:
        grid[y0[index] : y1[index], x0[index] : x1[index]] = codes[index]
    per_row, per_col = PATCH // SLOT_HEIGHT, PATCH // SLOT_WIDTH
    blocks = grid.reshape(height // PATCH, per_row, width // PATCH, per_col)
    return blocks.transpose(0, 2, 1, 3).reshape(height // PATCH, width // PATCH, SLOTS)
