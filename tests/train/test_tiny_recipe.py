"""The recipe of the small model on a few pages: its two stages follow on one another, and the result exports."""

from __future__ import annotations

from pathlib import Path

import torch
import ziprerank.train
from safetensors.torch import load_file
from store_pages import make_store
from tiny_checkpoint import STARTER
from ziprerank.export import export_checkpoint
from ziprerank.train.reading import HEADS
from ziprerank.train.recipe import read_recipe, run_recipe

TINY = Path(ziprerank.train.__file__).parent / "configs" / "tiny.yaml"


def test_the_stages_train_the_tower_and_nothing_else(tmp_path: Path) -> None:
    make_store(tmp_path, documents=3, pages=2)
    overrides = [f"checkpoint={STARTER}", f"output={tmp_path / 'out'}", "weights=fp32"]
    for stage in (0, 1):
        overrides += [
            f"stages.{stage}.stores=[{tmp_path / 'store'}]",
            f"stages.{stage}.shares=[1.0]",
            f"stages.{stage}.longest_side=[0, 10000]",
            f"stages.{stage}.compile=false",
            f"stages.{stage}.optimisation.steps=2",
            f"stages.{stage}.optimisation.warmup=0",
            f"stages.{stage}.sizes=[{{count: 2, rows: 2, cols: 3}}]",
        ]
    result = run_recipe(read_recipe(TINY, overrides))

    start = {name: value.float() for name, value in load_file(STARTER / "model.safetensors").items()}
    spelt = load_file(tmp_path / "out" / "0-reading" / "model" / "model.safetensors")
    read = load_file(result / "model.safetensors")
    assert start.keys() == spelt.keys() == read.keys()
    for name, value in start.items():
        if "visual" not in name or "deepstack" in name:
            torch.testing.assert_close(read[name], value, rtol=0, atol=0, msg=name)
    early, late = "model.visual.blocks.1.mlp.linear_fc1.weight", "model.visual.blocks.4.mlp.linear_fc1.weight"
    assert not torch.equal(spelt[early], start[early])
    assert torch.equal(spelt[late], start[late])  # spelling stops before it
    assert not torch.equal(read[late], start[late])

    first, second = (load_file(folder / HEADS) for folder in (tmp_path / "out" / "0-reading" / "model", result))
    moved = {name: float((second[name] - first[name]).abs().max()) for name in first}
    assert 0 < moved["spell.weight"] < 0.05, moved  # gone on with, not begun anew
    bundle = export_checkpoint(str(result), tmp_path / "bundle", weights="copy")
    assert (bundle / "rerank.onnx").is_file()
