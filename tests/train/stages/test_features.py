"""Features on disk against the tower's own output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from store_pages import make_store
from tiny_checkpoint import save_tiny_checkpoint
from ziprerank.train.data.page_store import PageStore
from ziprerank.train.errors import TrainError
from ziprerank.train.model.ranker import Ranker
from ziprerank.train.model.tower import Tower
from ziprerank.train.stages.features import Features, fold_scale, write_features


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PageStore:
    return make_store(tmp_path_factory.mktemp("features"), documents=2, pages=2)


@pytest.fixture
def ranker(tmp_path: Path) -> Ranker:
    return Ranker(save_tiny_checkpoint(tmp_path / "model"))


def coloured(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels[..., None], 3, axis=2)


@torch.no_grad()
def test_features_are_the_towers_to_half_precision(store: PageStore, ranker: Ranker, tmp_path: Path) -> None:
    tower = Tower.of(ranker)
    write_features(tmp_path / "out", tower, store, [3, 0])
    features = Features(tmp_path / "out", 32, tower)
    assert len(features) == 2
    assert features.pages.tolist() == [3, 0]
    for number, page in enumerate((3, 0)):
        expected = ranker.encode(coloured(store[page].pixels)).tokens
        rows, cols = (side // 32 for side in store.size(page))
        found = features.tokens(number)
        assert found.shape == (rows, cols, 32)
        assert found.dtype == torch.float32
        # visual tokens are row by row: the tower's order of blocks
        torch.testing.assert_close(found.view(-1, 32), expected, rtol=1e-3, atol=1e-3)


def test_features_of_another_model_are_refused(store: PageStore, ranker: Ranker, tmp_path: Path) -> None:
    tower = Tower.of(ranker)
    with pytest.raises(TrainError, match="holds no features"):
        Features(tmp_path / "out", 32)
    write_features(tmp_path / "out", tower, store, [0])
    with pytest.raises(TrainError, match="a model of width 64 needs"):
        Features(tmp_path / "out", 64)
    with torch.no_grad():
        ranker.module.model.visual.blocks[2].mlp.linear_fc1.weight[0, 0] += 1e-3
    with pytest.raises(TrainError, match="made with another vision tower"):
        Features(tmp_path / "out", 32, tower)
    with pytest.raises(TrainError, match="no page to encode"):
        write_features(tmp_path / "none", tower, store, [])


def test_tokens_beyond_half_precision_are_refused(store: PageStore, ranker: Ranker, tmp_path: Path) -> None:
    tower = Tower.of(ranker)
    with torch.no_grad():
        ranker.module.model.visual.merger.linear_fc2.weight.mul_(1e6)
    with pytest.raises(TrainError, match="page 1: a visual token reaches"):
        write_features(tmp_path / "out", tower, store, [1])
    assert not (tmp_path / "out" / "index.npz").exists()


def shares(box: np.ndarray, row: int, col: int) -> bool:
    """Whether a token's box counts in a cell, by the rule of `token_cells`."""
    left, top, right, bottom = (float(side) for side in box)
    high = min(bottom, 32 * row + 32) - max(top, 32 * row)
    wide = min(right, 32 * col + 32) - max(left, 32 * col)
    width, height = max(right - left, 1), max(bottom - top, 1)
    return high >= min(0.5 * height, 16) and wide >= min(0.3 * width, 8)


@torch.no_grad()
def test_scale_is_folded_into_the_merger(store: PageStore, ranker: Ranker) -> None:
    before = ranker.encode(coloured(store[2].pixels)).tokens
    factor = fold_scale(Tower.of(ranker), [store[page] for page in range(4)], 0.75)
    norms = []
    for number in range(4):
        page = store[number]
        tokens = ranker.encode(coloured(page.pixels)).tokens.view(*(side // 32 for side in page.pixels.shape), -1)
        for row in range(tokens.shape[0]):
            for col in range(tokens.shape[1]):
                if any(shares(box, row, col) for box in page.token_boxes):
                    norms.append(tokens[row, col].norm())
    assert 4 < len(norms) < 4 * tokens.shape[0] * tokens.shape[1]
    assert float(torch.stack(norms).mean()) == pytest.approx(0.75, rel=1e-3)
    torch.testing.assert_close(ranker.encode(coloured(store[2].pixels)).tokens, before * factor, rtol=1e-3, atol=1e-4)
