"""The constructed decoder: that it is MaxSim, that it finds the page, and that a recipe builds it."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from store_pages import make_store
from tiny_checkpoint import save_tiny_checkpoint
from torch import Tensor
from torch.nn import functional as F
from ziprerank.export import ExportError, ExportOptions, export_checkpoint
from ziprerank.export.host import Host
from ziprerank.train.errors import TrainError
from ziprerank.train.model.ranker import EncodedPage, Ranker
from ziprerank.train.optim.optimisation import Optimisation
from ziprerank.train.run.loop import run
from ziprerank.train.run.recipe import read_recipe, run_recipe
from ziprerank.train.stages import maxsim
from ziprerank.train.stages.construct import ConstructStage, construct
from ziprerank.train.stages.matching import MatchingStage


@pytest.fixture(scope="module")
def built(start_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Ranker:
    """From random weights; visual tokens are taken to vary as its embeddings do, all tokens to be equally rare."""
    folder = tmp_path_factory.mktemp("constructed") / "model"
    table = load_file(start_checkpoint / "model.safetensors")["model.language_model.embed_tokens.weight"].float()
    construct(start_checkpoint, folder, np.full(len(table), 10), table[100:])
    return Ranker(folder)


def page(ranker: Ranker, words: list[int], grid: tuple[int, int], rng: np.random.Generator) -> EncodedPage:
    """A page on which these tokens stand, each on a cell of its own, as a tower that reads well would say it."""
    rows, cols = grid
    tokens = torch.zeros(rows * cols, maxsim.WIDTH)
    tokens[:, maxsim.VISUAL] = 2
    places = rng.permutation(rows * cols)[: len(words)]
    read = ranker.table.weight.detach()[words, : maxsim.CONTENT]
    noise = torch.from_numpy(rng.normal(size=read.shape).astype(np.float32))
    tokens[torch.from_numpy(places), : maxsim.CONTENT] = read + 0.3 * noise
    return EncodedPage(tokens, (), (2 * rows, 2 * cols))


@pytest.mark.parametrize("keep_ratio", [1.0, 0.5])
@pytest.mark.parametrize("side", [4, 9, 32])
def test_pages_rank_by_how_much_of_the_query_they_hold(built: Ranker, keep_ratio: float, side: int) -> None:
    """Pages with all, half and none of the query's words come in that order, wherever they stand."""
    rng = np.random.default_rng([side, int(2 * keep_ratio)])
    words = ["memory", "window", "kernel", "printer", "network", "package", "letter", "screen", "volume", "branch"]
    vocabulary = [(word, built.prompting.query_ids(word)) for word in words]
    vocabulary = [(word, ids) for word, ids in vocabulary if len(ids) == 1]
    assert len(vocabulary) >= 6
    for _ in range(3):
        chosen = [vocabulary[int(number)] for number in rng.permutation(len(vocabulary))[:4]]
        query, ids = " ".join(word for word, _ in chosen), [ids[0] for _, ids in chosen]
        others = [int(index) for index in rng.integers(1000, 5000, size=60) if int(index) not in ids]
        contents = [[*others[:4], *ids], [*others[4:8], *ids[:2]], others[8:14], others[14:20], others[20:24]]
        order = rng.permutation(len(contents))
        pages = [page(built, contents[int(number)], (side, side - 1), rng) for number in order]
        with torch.no_grad():
            ranking = built.score(query, pages, keep_ratio).logits.argsort(descending=True)
        assert [int(order[int(place)]) for place in ranking[:2]] == [0, 1]


def test_what_a_token_lacks_is_what_maxsim_says(built: Ranker) -> None:
    """The second layer, against a softmax over the page's own cosines with a threshold in plain tensors."""
    rng = np.random.default_rng(5)
    ids = built.prompting.query_ids("memory window")
    pages = [page(built, [*rng.integers(1000, 5000, size=20), *ids[:keep]], (8, 8), rng) for keep in (0, 1, 2)]
    states: list[Tensor] = []
    second = built.module.model.language_model.layers[1]
    hook = second.register_forward_hook(lambda _, __, output: states.append(output))
    with torch.no_grad():
        text_ids = built.score("memory window", pages, 1.0).text_ids
    hook.remove()
    lacking = states[0][0, :, maxsim.LACK]
    end_ids = [place for place, token in enumerate(text_ids) if token == built.config.vision_end_id]
    ends = [place + (number + 1) * (64 - 1) for number, place in enumerate(end_ids)]  # pads become 64 tokens
    query = F.normalize(built.table.weight.detach()[ids, :196], dim=-1)
    for number, (one, end) in enumerate(zip(pages, ends, strict=True)):
        similar = 40 * query @ F.normalize(one.tokens[:, :196], dim=-1).nan_to_num().T  # [T, n]
        expected = -4 * torch.sigmoid(0.25 * 40 - torch.logsumexp(similar, dim=-1))
        found = lacking[end + 2 : end + 2 + len(ids)]  # after <|vision_end|> and the letter
        # the layer compares lengths as well: marks and codes make a token of a page a little shorter
        torch.testing.assert_close(found, expected, atol=0.8, rtol=0, msg=lambda text, n=number: f"page {n}: {text}")
        assert [float(value) > -2 for value in found] == [float(value) > -2 for value in expected]


def test_the_nearest_letter_is_told_at_every_distance() -> None:
    """The two sums of cosines, over pages of many sizes, queries of many lengths and 20 pages."""

    def logit(weights: dict[int, float], distance: int) -> float:
        return sum(w * math.cos(distance * maxsim.THETA ** (-i / maxsim.PAIRS)) for i, w in weights.items())

    worst_text = worst_visual = 1.0
    for rows in (1, 3, 9, 20, 32, 64):
        for length in (1, 3, 7, 20, 48):
            period = rows + length + 5
            behind = [back * period for back in range(1, 20)]
            for place in (1, length // 2 + 1, length + 1):
                own = logit(maxsim._NEAR_TEXT, place)
                rest = [place + far for far in behind] + [place + rows + 3 + far for far in behind]
                worst_text = min(worst_text, own - max(logit(maxsim._NEAR_TEXT, far) for far in rest))
            rest = [*behind, *(length + 2 + far - period for far in behind)]
            own = logit(maxsim._NEAR_VISUAL, 0)
            worst_visual = min(worst_visual, own - max(logit(maxsim._NEAR_VISUAL, far) for far in rest))
    assert worst_text > 0.15
    assert worst_visual > 0.3


def test_a_recipe_builds_it_once_and_it_exports(
    start_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path, documents=2, pages=2)
    assert len(store) == 4
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"checkpoint: {start_checkpoint}\noutput: {tmp_path / 'out'}\n"
        f"stages:\n  - stage: construct\n    store: {tmp_path / 'store'}\n    pages: 2\n"
    )
    result = run_recipe(read_recipe(recipe))
    made = (result / "model.safetensors").stat().st_mtime_ns
    run_recipe(read_recipe(recipe))
    assert (result / "model.safetensors").stat().st_mtime_ns == made
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainError, match="construct in one process"):
        run_recipe(read_recipe(recipe, [f"output={tmp_path / 'other'}"]))
    monkeypatch.delenv("WORLD_SIZE")
    with pytest.raises(TrainError, match="other settings"):
        run_recipe(read_recipe(recipe, ["stages.0.pages=3"]))

    ranker = Ranker(result)
    pixels = [np.array(np.repeat(store[number].pixels[..., None], 3, axis=2)) for number in range(3)]
    with torch.no_grad():
        expected = ranker.score("kalomi", ranker.encode_all(pixels), 0.5).logits
    bundle = export_checkpoint(str(result), tmp_path / "bundle", ExportOptions(weights="copy"))
    host = Host(bundle)
    found = host.score(ranker.prompting.ids("kalomi", 3), [host.encode(page) for page in pixels], keep_ratio=0.5)
    torch.testing.assert_close(torch.from_numpy(found.logits[:3]), expected, atol=2e-3, rtol=0)


def test_training_its_comparison_leaves_the_rest_alone(start_checkpoint: Path, tmp_path: Path) -> None:
    make_store(tmp_path, documents=2, pages=3)
    ConstructStage(store=tmp_path / "store", pages=2).build(str(start_checkpoint), tmp_path / "model")
    settings = {"store": tmp_path / "store", "features": tmp_path / "features", "trained": "comparison"}
    stage = MatchingStage(**settings, candidates=(2, 3), held_out=0.0)  # type: ignore[arg-type]
    task = stage.task(str(tmp_path / "model"), seed=1, weights="fp32")
    before = {name: value.detach().clone() for name, value in task.module.named_parameters()}
    trained = [parameter for parameter in task.module.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=0.01, weight_decay=0.0)
    for step in range(3):
        optimiser.zero_grad()
        task.loss(task.batch(step), 0.0)[0].backward()
        optimiser.step()
    masks = maxsim.comparison()
    for name, value in task.module.named_parameters():
        moved = value != before[name]
        if name in masks:
            assert moved.any(), name
            assert not moved[~masks[name]].any(), name
        else:
            assert not moved.any(), name

    for change in ({"weight_decay": 0.01}, {"optimiser": "muon"}):
        with pytest.raises(TrainError, match="trained is comparison"):
            run(task, Optimisation(steps=1, lr=1e-3, **change), tmp_path / "run", seed=1)  # type: ignore[arg-type]

    tiny = save_tiny_checkpoint(tmp_path / "tiny", tied=True)
    state = load_file(tiny / "model.safetensors")
    for name in [name for name in state if "deepstack" in name and "linear_fc2" in name]:
        state[name].zero_()
    save_file(state, tiny / "model.safetensors", metadata={"format": "pt"})
    stage = dataclasses.replace(stage, features=tmp_path / "others")
    with pytest.raises(TrainError, match=r"layers\.1\.self_attn\.q_proj\.weight is \[64, 32\]"):
        stage.task(str(tiny), seed=1, weights="fp32")


def test_what_cannot_be_constructed_is_refused(deepstack_checkpoint: Path, tmp_path: Path) -> None:
    tiny = save_tiny_checkpoint(tmp_path / "tiny", tied=True)
    counts = np.ones(Ranker(tiny).config.decoder.vocab_size, np.int64)
    with pytest.raises(TrainError, match="width 32, tied embeddings"):
        construct(tiny, tmp_path / "out", counts, torch.ones(4, 32))
    deep = tmp_path / "deep"
    deep.mkdir()
    for file in deepstack_checkpoint.glob("*.json"):
        (deep / file.name).write_bytes(file.read_bytes())
    state = load_file(deepstack_checkpoint / "model.safetensors")
    for name in [name for name in state if "deepstack" in name and "linear_fc2" in name]:
        state[name].zero_()
    state["model.visual.deepstack_merger_list.1.linear_fc2.bias"] += 1
    save_file(state, deep / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrainError, match=r"deepstack_merger_list\.1\.linear_fc2\.bias is not zero"):
        construct(deep, tmp_path / "out", counts, torch.ones(4, maxsim.WIDTH))
    shard = "model-00001-of-00001.safetensors"
    (deep / "model.safetensors").rename(deep / shard)
    index = {"metadata": {}, "weight_map": dict.fromkeys(state, shard)}
    (deep / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(TrainError, match=r"no model\.safetensors"):
        construct(deep, tmp_path / "out", counts, torch.ones(4, maxsim.WIDTH))
    with pytest.raises(TrainError, match="pages is 0"):
        ConstructStage(store=tmp_path, pages=0)
    with pytest.raises(ExportError, match=r"longest_side 128 must lie in 256\.\.16384 pixels"):
        ConstructStage(store=tmp_path, longest_side=128)
    with pytest.raises(ExportError, match=r"dpi 5 must lie in 20\.\.1200"):
        ConstructStage(store=tmp_path, dpi=5)
