"""The batched vision tower against transformers' own forward."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_checkpoint import save_tiny_checkpoint
from ziprerank.train.errors import TrainError
from ziprerank.train.model.ranker import Ranker
from ziprerank.train.model.tower import Tower


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Ranker:
    return Ranker(save_tiny_checkpoint(tmp_path_factory.mktemp("tower") / "model", seed=3))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 160), (192, 96), (288, 256)])
@pytest.mark.parametrize("grey", [True, False])
@torch.no_grad()
def test_equals_transformers(ranker: Ranker, height: int, width: int, grey: bool) -> None:
    """The last size has more than ``_FEW_PATCHES``."""
    shape = (2, height, width) if grey else (2, height, width, 3)
    pages = torch.from_numpy(np.random.default_rng(height).integers(0, 256, shape, dtype=np.uint8))
    coloured = pages[..., None].expand(-1, -1, -1, 3).contiguous() if grey else pages
    expected = ranker.encode_all(list(coloured))
    tower = Tower.of(ranker)
    layers = tuple(ranker.config.vision.deepstack)
    state, kept = tower.hidden(tower.patches(pages), tower.grid(pages), layers)
    tokens, levels = tower.tokens(state), tower.deepstack(kept)
    assert len(levels) == 3
    for number, page in enumerate(expected):
        torch.testing.assert_close(tokens[number], page.tokens, rtol=1e-4, atol=1e-4)
        for level, features in zip(levels, page.deepstack, strict=True):
            torch.testing.assert_close(level[number], features, rtol=1e-4, atol=1e-4)
    part, _ = tower.hidden(tower.patches(pages), tower.grid(pages), depth=layers[1] + 1)
    torch.testing.assert_close(part, kept[1])


def test_a_processor_that_colours_grey_is_refused(ranker: Ranker, tmp_path: Path) -> None:
    path = save_tiny_checkpoint(tmp_path / "model")
    processor = json.loads((path / "preprocessor_config.json").read_text())
    (path / "preprocessor_config.json").write_text(json.dumps({**processor, "image_std": [0.2, 0.2, 0.3]}))
    with pytest.raises(TrainError, match=r"image_std is \[0.2, 0.2, 0.3\]"):
        Tower.of(Ranker(path))
    assert (Tower.of(ranker).mean, Tower.of(ranker).std) == (0.5, 0.5)
