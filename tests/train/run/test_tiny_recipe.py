"""The recipe of the model in the box on a few pages: its stages follow on one another, and the result exports."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import ziprerank.train
from safetensors.torch import load_file
from store_pages import make_store
from tiny_wordnet import write_wordnet
from ziprerank.export import ExportOptions, export_checkpoint
from ziprerank.train.run.recipe import read_recipe, run_recipe
from ziprerank.train.stages import maxsim
from ziprerank.train.stages.reading import HEADS

TRAIN = Path(ziprerank.train.__file__).parent
TINY, DEFAULT = TRAIN / "configs" / "tiny.yaml", TRAIN / "checkpoints" / "default"


def test_each_stage_changes_its_part_of_the_model(start_checkpoint: Path, tmp_path: Path) -> None:
    make_store(tmp_path, documents=3, pages=3)
    store = tmp_path / "store"
    overrides = [f"checkpoint={start_checkpoint}", f"output={tmp_path / 'out'}", "weights=fp32"]
    for stage in (0, 1, 2):
        overrides += [
            f"stages.{stage}.stores=[{store}]",
            f"stages.{stage}.shares=[1.0]",
            f"stages.{stage}.longest_side=[0, 10000]",
            f"stages.{stage}.compile=false",
            f"stages.{stage}.optimisation.steps=2",
            f"stages.{stage}.optimisation.warmup=0",
            f"stages.{stage}.sizes=[{{count: 2, rows: 2, cols: 3}}]",
        ]
    overrides += [f"stages.3.store={store}", "stages.3.pages=4"]
    overrides += [
        f"stages.4.store={store}",
        f"stages.4.features={tmp_path / 'features'}",
        f"stages.4.synonyms={write_wordnet(tmp_path / 'wordnet')}",
        "stages.4.candidates=[2, 3]",
        "stages.4.held_out=0.0",
        "stages.4.optimisation.steps=1",
        "stages.4.optimisation.warmup=0",
        "stages.4.optimisation.evaluate_every=0",
    ]
    result = run_recipe(read_recipe(TINY, overrides))

    def weights(stage: str) -> dict[str, torch.Tensor]:
        return load_file(tmp_path / "out" / stage / "model" / "model.safetensors")

    start = {name: value.float() for name, value in load_file(start_checkpoint / "model.safetensors").items()}
    spelt, read, again, built, ranked = map(
        weights, ("0-reading", "1-reading", "2-reading", "3-construct", "4-matching")
    )
    assert start.keys() == spelt.keys() == read.keys() == again.keys()
    for name, value in start.items():
        if "visual" not in name or "deepstack" in name:
            torch.testing.assert_close(again[name], value, rtol=0, atol=0, msg=name)
    early, late = "model.visual.blocks.1.mlp.linear_fc1.weight", "model.visual.blocks.4.mlp.linear_fc1.weight"
    assert not torch.equal(spelt[early], start[early])
    assert torch.equal(spelt[late], start[late])  # spelling stops before it
    assert not torch.equal(read[late], start[late])

    first, second = (load_file(tmp_path / "out" / folder / "model" / HEADS) for folder in ("0-reading", "1-reading"))
    moved = {name: float((second[name] - first[name]).abs().max()) for name in first}
    assert 0 < moved["spell.weight"] < 0.05, moved  # gone on with, not begun anew

    assert built.keys() == ranked.keys()
    compared = {f"model.language_model.{name}" for name in maxsim.comparison()}
    assert {name for name in built if not torch.equal(built[name], ranked[name])} == compared
    assert torch.equal(built[late], again[late])
    bundle = export_checkpoint(str(result), tmp_path / "bundle", ExportOptions(weights="copy"))
    image = json.loads((bundle / "ziprerank.json").read_text(encoding="utf-8"))["image"]
    assert (image["longest_side"], image["dpi"]) == (1024, 88)  # as the tower has learnt to read; the start has none
    theirs = json.loads((DEFAULT / "prompt.json").read_text(encoding="utf-8"))
    assert json.loads((result / "prompt.json").read_text(encoding="utf-8")) == theirs
