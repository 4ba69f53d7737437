"""A stage on a model divided between two processes, against the same stage in one."""

from __future__ import annotations

from pathlib import Path

import pytest
import sharded_program
import torch
from safetensors.torch import load_file
from toy_task import launch_two
from ziprerank.train.errors import TrainError
from ziprerank.train.run.recipe import read_recipe, run_recipe

RECIPE = """
checkpoint: {data}/model
output: {out}
weights: fp32
stages:
  - stage: pages
    data: {{format: jsonl, path: {data}/pages.jsonl}}
    keep_ratio: [1.0, 0.5]
    epochs: 2
    batch: 2
    held_out: 1
    optimisation: {{lr: 1e-3, gradient_checkpointing: true, evaluate_every: 3, shard: {shard}}}
"""


def recipe(data: Path, out: Path, shard: bool) -> Path:
    path = out.with_suffix(".yaml")
    path.write_text(RECIPE.format(data=data, out=out, shard=str(shard).lower()))
    return path


def test_divided_model_trains_to_the_same_parameters(data: Path, tmp_path: Path) -> None:
    """It is stopped on the way, and goes on from a checkpoint of whole tensors."""
    two = tmp_path / "two"
    processes = launch_two([sharded_program.__file__, str(recipe(data, two, True))])
    assert [process.wait() for process in processes] == [0, 0]

    one = run_recipe(read_recipe(recipe(data, tmp_path / "one", False)))
    start = load_file(data / "model" / "model.safetensors")
    expected = load_file(one / "model.safetensors")
    result = load_file(two / "0-pages" / "model" / "model.safetensors")
    assert result.keys() == expected.keys()
    for name, value in expected.items():
        if not name.startswith("model.visual."):
            assert (value - start[name]).abs().max() > 1e-3, name
        # Adam divides by the gradient's own size, so that rounding shows where a gradient is almost zero
        torch.testing.assert_close(result[name], value, rtol=1e-3, atol=2e-4, msg=name)


def test_one_process_cannot_divide(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="shard is true with one process"):
        run_recipe(read_recipe(recipe(data, tmp_path / "one", True)))
