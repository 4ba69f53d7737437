"""The same rerank.onnx in stock ONNX Runtime, with the fused op, and through the engine gives the same scores.

The graphs' inputs are built here from docs/bundle.md alone, in NumPy, so that the engine's layout, patches and row
table are checked against the contract and not against themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from engine_helpers import Pages, prompt_ids, score
from numpy.typing import NDArray
from ziprerank import _engine

Feeds = dict[str, NDArray[Any]]


def vision_feeds(page: NDArray[np.uint8]) -> Feeds:
    rows, cols = page.shape[0] // 16, page.shape[1] // 16
    grid = page.reshape(rows // 2, 2, 16, cols // 2, 2, 16, 3)  # block row, row, y, block column, column, x, channel
    patches = grid.transpose(0, 3, 1, 4, 6, 2, 5).reshape(1, rows * cols, 768)
    row = np.broadcast_to(np.arange(rows).reshape(rows // 2, 1, 2, 1), (rows // 2, cols // 2, 2, 2))
    col = np.broadcast_to(np.arange(cols).reshape(1, cols // 2, 1, 2), (rows // 2, cols // 2, 2, 2))
    return {"patches": np.ascontiguousarray(patches), "patch_rows": row.reshape(-1), "patch_cols": col.reshape(-1)}


def rerank_feeds(pages: Pages, features: list[NDArray[Any]], ids: NDArray[np.int64], keep_ratio: float) -> Feeds:
    pad, start, end = 6, 3, 4
    grids = [(page.shape[0] // 32, page.shape[1] // 32) for page in pages]
    sizes = [h * w for h, w in grids]
    keep = [max(1, round(keep_ratio * size)) for size in sizes]
    text, text_positions, visual_positions, layout = [], [], [], []
    position, kept, page = 0, len(ids) - len(pages), 0
    for token in ids:
        if token != pad:
            layout.append(len(text))
            text.append(token)
            text_positions.append([position] * 3)
            position += 1
            continue
        h, w = grids[page]
        visual_positions += [[position, position + y, position + x] for y in range(h) for x in range(w)]
        layout += range(kept, kept + keep[page])
        kept += keep[page]
        position += max(h, w)
        page += 1
    before = np.arange(len(text)) < np.argmax(ids == pad)
    return {
        "pool": np.concatenate(features),
        "rows": np.arange(sum(sizes)),
        "page_offsets": np.cumsum([0, *sizes]),
        "keep": np.asarray(keep),
        "text_ids": np.asarray(text),
        "query_mask": before & ~np.isin(text, [start, end]),
        "text_positions": np.ascontiguousarray(np.asarray(text_positions).T),
        "visual_positions": np.ascontiguousarray(np.asarray(visual_positions).T),
        "layout": np.asarray(layout),
    }


@pytest.mark.parametrize("keep_ratio", [1.0, 0.5, 0.25])
def test_three_ways_agree(engine: _engine.Engine, default_bundle: Path, pages: Pages, keep_ratio: float) -> None:
    providers = ["CPUExecutionProvider"]
    fused_options = ort.SessionOptions()
    fused_options.register_custom_ops_library(_engine.library())
    stock = ort.InferenceSession(default_bundle / "rerank.onnx", providers=providers)
    fused = ort.InferenceSession(default_bundle / "rerank.onnx", fused_options, providers=providers)
    vision = ort.InferenceSession(default_bundle / "vision.onnx", providers=providers)

    ids = prompt_ids(engine.info, len(pages), seed=4)
    features = [vision.run(None, vision_feeds(page))[0][0] for page in pages]
    feeds = rerank_feeds(pages, features, ids, keep_ratio)
    stock_scores, stock_kept = stock.run(["scores", "kept"], feeds)
    fused_scores, fused_kept = fused.run(["scores", "kept"], feeds)
    ours = score(engine, pages, ids, keep_ratio)
    kept = np.concatenate([own + first for own, first in zip(ours.kept, feeds["page_offsets"], strict=False)])

    assert np.array_equal(fused_kept, stock_kept)
    assert np.array_equal(kept, stock_kept)
    np.testing.assert_allclose(fused_scores, stock_scores, atol=1e-4)
    np.testing.assert_allclose(ours.scores, stock_scores[:4], atol=1e-4)
