from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import Shape, save_random_checkpoint
from qwen_tokenizer import qwen3_tokenizer_json

MakeCheckpoint = Callable[[Shape], Path]


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> MakeCheckpoint:
    """Returns random checkpoints by shape; each is written once in a session."""
    written: dict[Shape, Path] = {}

    def make(shape: Shape) -> Path:
        if shape not in written:
            out = tmp_path_factory.mktemp("checkpoint") / "model"
            written[shape] = save_random_checkpoint(out, shape, qwen3_tokenizer_json())
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
