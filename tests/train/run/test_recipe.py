"""Recipes: what is refused, and the paper's own, run on a small model and its result exported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import ziprerank.train
from ranking_data import WORDS
from safetensors.torch import load_file
from typer.testing import CliRunner
from ziprerank.cli.app import app
from ziprerank.export import ExportOptions, export_checkpoint
from ziprerank.export.host import Host
from ziprerank.train.errors import TrainError
from ziprerank.train.model.ranker import Ranker
from ziprerank.train.run.recipe import read_recipe
from ziprerank.train.stages.pages import PagesStage

PAPER = Path(ziprerank.train.__file__).parent / "configs" / "paper.yaml"


def overrides(data: Path, output: Path) -> list[str]:
    return [
        f"checkpoint={data / 'model'}",
        f"output={output}",
        f"stages.0.data.path={data / 'conversations.json'}",
        "stages.0.batch=6",
        "stages.0.optimisation.shard=false",
        "stages.1.optimisation.shard=false",
        f"stages.1.data.path={data / 'rankings.jsonl'}",
        f"stages.1.data.pages={data / 'pages'}",
        "stages.1.batch=2",
    ]


def command(arguments: list[str]) -> Any:
    sets = [part for argument in arguments for part in ("--set", argument)]
    return CliRunner().invoke(app, ["train", "--config", str(PAPER), *sets])


def test_the_papers_recipe_runs_and_its_result_exports(data: Path, tmp_path: Path) -> None:
    done = command(overrides(data, tmp_path / "out"))
    assert done.exit_code == 0, done.output
    facts = [json.loads((tmp_path / "out" / name / "finished.json").read_text()) for name in ("0-listwise", "1-pages")]
    # 3 epochs of 6 examples in batches of 6, 1 epoch of 6 in batches of 2
    assert [fact["step"] for fact in facts] == [3, 3]
    assert [fact["settings"]["lr"] for fact in facts] == [3e-6, 3e-6]

    start = load_file(data / "model" / "model.safetensors")
    first, last = (
        load_file(tmp_path / "out" / name / "model" / "model.safetensors") for name in ("0-listwise", "1-pages")
    )
    assert start.keys() == first.keys() == last.keys()
    for name, value in start.items():
        frozen = name.startswith("model.visual.")
        assert torch.equal(first[name], value) == frozen, name
        assert last[name].dtype == torch.bfloat16
    result = tmp_path / "out" / "1-pages" / "model"

    bundle = export_checkpoint(str(result), tmp_path / "bundle", ExportOptions(precision="fp32"))
    host = Host(bundle)
    ranker = Ranker(result)
    images = [np.random.default_rng(k).integers(0, 256, (256, 288, 3), dtype=np.uint8) for k in range(4)]
    for keep_ratio in (1.0, 0.5):
        with torch.no_grad():
            scored = ranker.score("copper lantern", ranker.encode_all(images), keep_ratio)
        expected = host.score(scored.text_ids, [host.encode(image) for image in images], keep_ratio)
        assert [kept.tolist() for kept in scored.kept] == [kept.tolist() for kept in expected.kept]
        np.testing.assert_allclose(scored.logits.numpy(), expected.logits[:4], rtol=1e-3, atol=1e-3)


def test_run_again_does_nothing_and_restart_begins_anew(data: Path, tmp_path: Path) -> None:
    small = [*overrides(data, tmp_path / "out"), "stages.0.epochs=0.2", "stages.1.epochs=0.2", "stages.0.batch=1"]
    assert command(small).exit_code == 0
    model = tmp_path / "out" / "1-pages" / "model" / "model.safetensors"
    written = model.stat().st_mtime_ns
    assert command(small).exit_code == 0
    assert model.stat().st_mtime_ns == written
    other = command([*small, "stages.0.ranking_weight=5"])
    assert other.exit_code == 1
    assert "ranking_weight is 5.0" in other.output
    sets = [part for argument in small for part in ("--set", argument)]
    assert CliRunner().invoke(app, ["train", "-c", str(PAPER), "--restart", *sets]).exit_code == 0
    assert model.stat().st_mtime_ns > written


def test_recipe_learns_what_the_order_says(data: Path, tmp_path: Path) -> None:
    """The second passage is always best: without shuffling, letter B wins after a few steps at a high rate."""
    recipe = read_recipe(
        PAPER,
        [*overrides(data, tmp_path / "out"), "stages.0.shuffle=false", "stages.0.optimisation.lr=0.003"],
    )
    planned = recipe.stages[0]
    task = planned.stage.task(str(data / "model"), seed=0, weights="fp32")
    optimiser = torch.optim.AdamW([value for value in task.module.parameters() if value.requires_grad], lr=0.003)
    history = []
    for step in range(24):
        loss, values = task.loss(task.batch(step), 0.0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(values)
    assert sum(values["first"] for values in history[-6:]) == 6
    assert history[-1]["language"] < history[0]["language"]
    assert history[-1]["ranking"] < history[0]["ranking"]


def changed(text: str, tmp_path: Path, old: str, new: str) -> Path:
    assert old in text
    path = tmp_path / "recipe.yaml"
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("seed: 42", "sead: 42", "recipe.yaml: unknown key 'sead', known are checkpoint, output, seed"),
        ("output: runs/paper\n", "", "recipe.yaml: 'output' is missing"),
        ("seed: 42", "seed: '42'", "recipe.yaml.seed is '42': it must be an integer"),
        ("passages: 20", "passages: twenty", r"stages\[0\].passages is 'twenty': it must be an integer"),
        ("passages: 20", "passages: 21", r"stages\[0\]: passages is 21: must lie in 2..20"),
        ("lr: 3e-6", "lr: true", r"stages\[0\].optimisation.lr is True: it must be a number"),
        ("lr: 3e-6", "lr: 0", r"stages\[0\].optimisation: lr is 0.0: must be above 0"),
        ("lr: 3e-6\n", "lr: 3e-6\n      learning: 1\n", r"stages\[0\].optimisation: unknown key 'learning'"),
        ("vision: frozen", "vision: thawed", r"stages\[0\].vision is 'thawed': use one of frozen, merger, trained"),
        ("stage: pages", "stage: page", r"stages\[1\].stage is 'page': use one of listwise, pages"),
        ("pages: data/mmdocir-pages", "", r"stages\[1\].data: pages is None: the format mmdocir needs"),
        ("keep_ratio: [1.0, 0.5]", "keep_ratio: [1.0, 0]", r"stages\[1\]: keep_ratio is \[1.0, 0.0\]"),
        ("keep_ratio: [1.0, 0.5]", "keep_ratio: 0.5", r"stages\[1\].keep_ratio is 0.5: it must be a list"),
        ("epochs: 3", "epochs: none", r"stages\[0\].epochs is 'none': it must be a number above 0"),
        ("lr: 3e-6", "lr: 3e-6\n      steps: 5", r"stages\[0\]: optimisation.steps and epochs say the same"),
        ("seed: 42", "seed: 42\nseed: 43", "'seed' is given twice"),
        ("seed: 42", "seed: [", "cannot be read"),
    ],
)
def test_wrong_recipes_are_refused(old: str, new: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=complaint):
        read_recipe(changed(PAPER.read_text(), tmp_path, old, new))


def test_overrides_that_hit_nothing_are_refused() -> None:
    for assignment, complaint in (
        ("stages.2.batch=1", "no '2'"),
        ("seeds.x=1", "no 'seeds'"),
        ("seed", "KEY=VALUE"),
        ("seeds=1", "unknown key 'seeds'"),
    ):
        with pytest.raises(TrainError, match=complaint):
            read_recipe(PAPER, [assignment])


def test_command_line_says_what_is_wrong(tmp_path: Path) -> None:
    path = changed(PAPER.read_text(), tmp_path, "seed: 42", "sead: 42")
    done = CliRunner().invoke(app, ["train", "--config", str(path)])
    assert done.exit_code == 1
    assert "unknown key 'sead'" in done.output
    assert CliRunner().invoke(app, ["train", "--config", str(PAPER), "--check"]).exit_code == 0


def test_missing_package_is_named_with_its_extra() -> None:
    code = (
        "import sys; sys.modules['yaml'] = None\n"
        "from ziprerank.cli.app import app\n"
        f"sys.argv = ['ziprerank', 'train', '--config', {str(PAPER)!r}]\n"
        "app()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'pip install "ziprerank[train]"' in done.stderr


def batches(stage: PagesStage, data: Path, steps: int) -> Iterator[Any]:
    task = stage.task(str(data / "model"), seed=5, weights="fp32")
    for step in range(steps):
        yield task.batch(step)


def test_scanned_pages_keep_their_place_and_lose_their_looks(data: Path, tmp_path: Path) -> None:
    def stage(scanned: float) -> PagesStage:
        sets = [*overrides(data, tmp_path), f"stages.1.scanned={scanned}"]
        made = read_recipe(PAPER, sets).stages[1].stage
        assert isinstance(made, PagesStage)
        return made

    clean, mixed, all_scanned = (list(batches(stage(share), data, 12)) for share in (0.0, 0.5, 1.0))
    changed = {0.5: 0, 1.0: 0}
    for share, drawn in ((0.5, mixed), (1.0, all_scanned)):
        for before, after in zip(clean, drawn, strict=True):
            assert (before.query, before.order, before.truths) == (after.query, after.order, after.truths)
            for one, other in zip(before.pages, after.pages, strict=True):
                assert one.shape == other.shape
                assert other.dtype == torch.uint8
                changed[share] += not torch.equal(one, other)
    total = sum(len(batch.pages) for batch in clean)
    assert changed[1.0] == total
    assert 0.2 * total < changed[0.5] < 0.8 * total
    with pytest.raises(TrainError, match=r"scanned is 2.0: it is a share of the pages, in \[0, 1\]"):
        stage(2.0)


def test_every_epoch_shows_every_example_and_shuffles_with_its_order(data: Path, tmp_path: Path) -> None:
    recipe = read_recipe(PAPER, [*overrides(data, tmp_path), "stages.1.keep_ratio=[1.0, 0.5, 0.25]"])
    stage = recipe.stages[1].stage
    assert isinstance(stage, PagesStage)
    drawn = list(batches(stage, data, 12))
    queries = [batch.query for batch in drawn]
    assert sorted(queries[:6]) == sorted(queries[6:]) == sorted(WORDS[:6])
    assert queries[:6] != queries[6:]
    assert {batch.keep_ratio for batch in drawn} == {1.0, 0.5, 0.25}
    orders = set()
    for batch in drawn:
        shown = [(250 - int(page[-1, -1, 0])) // 50 for page in batch.pages]  # by the shade of their paper
        assert [shown[place] for place in batch.order] == [3, 2, 1, 0]
        assert [shown[place] for place in batch.truths] == [WORDS.index(batch.query) % 4]
        orders.add(tuple(shown))
    assert len(orders) > 3
    again = list(batches(stage, data, 12))
    assert all(one.order == other.order and one.query == other.query for one, other in zip(drawn, again, strict=True))
