from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

import pytest
from built_once import built_once
from checkpoints import Shape, save_random_checkpoint
from qwen_tokenizer import qwen3_tokenizer_json

MakeCheckpoint = Callable[[Shape], Path]


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> MakeCheckpoint:
    """Returns random checkpoints by shape; each is written once a run."""
    written: dict[Shape, Path] = {}

    def make(shape: Shape) -> Path:
        if shape not in written:
            name = "checkpoint-" + "-".join(map(str, astuple(shape))).replace(" ", "")
            written[shape] = built_once(
                tmp_path_factory, name, lambda out: save_random_checkpoint(out, shape, qwen3_tokenizer_json())
            )
        return written[shape]

    return make


@pytest.fixture
def own_checkpoint(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> Path:
    """A checkpoint that the test may damage: its files are links, to be unlinked before they are rewritten."""
    source = make_checkpoint(Shape())
    copy = tmp_path / "own"
    copy.mkdir()
    for file in source.iterdir():
        (copy / file.name).symlink_to(file)
    return copy
