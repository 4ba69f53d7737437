"""The ablation trains every variant by its stages and judges all variants on the same examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from store_pages import make_store
from ziprerank.train.data.page_store import PageStore
from ziprerank.train.model.ranker import Ranker
from ziprerank.train.run.typed_yaml import read_yaml
from ziprerank.train.stages.reading import is_held_out

from bench import ablation


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs the ablation on one small store, in a few steps."""
    folder = tmp_path_factory.mktemp("ablation")
    make_store(folder, documents=6, pages=4, words=24)
    names = PageStore(folder / "store").documents
    held_out = next(s / 100 for s in range(1, 100) if 0 < sum(is_held_out(name, s / 100) for name in names) < 6)
    recipe = read_yaml(ablation.TINY)
    pages, few = recipe["stages"][-1], {"steps": 2, "accumulate": 1, "warmup": 1}
    pages["candidates"] = [2, 4]
    pages["optimisation"] |= {**few, "log_every": 1}
    pages["optimisation"].pop("evaluate_every", None)
    (folder / "tiny.yaml").write_text(json.dumps(recipe))
    stores = ["--real", str(folder / "store"), "--synthetic", str(folder / "store")]
    options = ["--most-pages", "24", "20", "--held-out", str(held_out), "--examples", "4"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ablation, "SHORT", {"candidates": [2, 3], "optimisation": few})
        patched.setitem(ablation.LISTWISE, "optimisation", few)
        ablation.main(
            [
                str(folder / "rows.jsonl"),
                "--work",
                str(folder),
                "--recipe",
                str(folder / "tiny.yaml"),
                *stores,
                *options,
            ]
        )
    return folder


@pytest.fixture(scope="module")
def rows(work: Path) -> dict[str, dict[str, Any]]:
    read = [json.loads(line) for line in (work / "rows.jsonl").read_text().splitlines()]
    return {row["variant"]: row for row in read}


def test_each_variant_is_trained_by_its_stages(rows: dict[str, dict[str, Any]]) -> None:
    assert {name: row["stages"] for name, row in rows.items()} == {
        "the recipe, stages 0 and 2": ["soft_ranking"],
        "without stage 2, the decoder as it is constructed": [],
        "with stage 1, listwise pretraining": ["listwise", "soft_ranking"],
        "stage 2 of 30 small steps": ["soft_ranking"],
        "stage 2 of 30 small steps, without pruning in the loop": ["soft_ranking"],
        "without stage 0, reading": ["soft_ranking"],
    }
    for row in rows.values():
        assert row["n"] == 4
        assert (row["pages"], row["synthetic_pages"]) == (24, 20)
        assert (row["seconds"] is not None) == bool(row["stages"] or row["seconds"] == 0)


def test_differences_are_to_the_whole_recipe(rows: dict[str, dict[str, Any]]) -> None:
    whole = rows["the recipe, stages 0 and 2"]
    for name in ablation.METRICS:
        assert whole[f"{name}_difference"] == [0, 0, 0]
        for row in rows.values():
            mean, low, high = row[f"{name}_difference"]
            assert mean == pytest.approx(row[name] - whole[name], abs=2e-4)
            assert low <= mean <= high
    unread, constructed = (
        rows[name] for name in ("without stage 0, reading", "without stage 2, the decoder as it is constructed")
    )
    assert unread["soft_ranking_loss"] != whole["soft_ranking_loss"] != constructed["soft_ranking_loss"]


def test_the_best_temperature_is_that_of_the_lowest_loss() -> None:
    target = torch.tensor([0.6, 0.3, 0.1])
    for truth in (0.5, 2.0):
        losses = ablation.tempered_losses(torch.log(target) * truth, target)
        assert ablation.TEMPERATURES[losses.argmin()] == pytest.approx(truth, rel=0.03)
        assert losses.min() == pytest.approx(float(-(target * target.log()).sum()), abs=1e-3)  # the target's entropy
        assert losses[-1] == pytest.approx(float(-(target * torch.log_softmax(torch.log(target) * truth, 0)).sum()))


def test_the_tower_that_never_read(reader_checkpoint: Path, work: Path) -> None:
    reads, drawn = Ranker(reader_checkpoint), Ranker(work / "unread")
    theirs = dict(drawn.module.named_parameters())
    for name, parameter in reads.module.named_parameters():
        changed = ("visual.blocks" in name or "visual.merger" in name) and parameter.dim() == 2
        assert bool((parameter == theirs[name]).all()) != changed, name


def test_intervals_are_of_the_examples_differences() -> None:
    values = {name: np.array([1.0, 0, 1, 1] * 50) for name in ablation.METRICS}
    worse = {name: np.array([1.0, 0, 1, 0] * 50) for name in ablation.METRICS}
    row = ablation.summed_up(worse, values)
    mean, low, high = row["recall@1_difference"]
    assert (row["recall@1"], mean) == (0.5, -0.25)
    spread = 1.96 * np.std(worse["recall@1"] - values["recall@1"]) / np.sqrt(200)
    assert [low, high] == pytest.approx([-0.25 - spread, -0.25 + spread], abs=0.01)
    assert row["recall@1_interval"] == pytest.approx([0.431, 0.569], abs=0.001)  # Wilson's of 100 in 200
    assert "| all | 0.500 |" in ablation.table([{**row, "variant": "all", "seconds": None}])
