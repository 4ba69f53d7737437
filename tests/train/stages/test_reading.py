"""The reading stage: its labels, its two losses, and that a second stage goes on with its heads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from store_pages import make_store
from tiny_checkpoint import save_tiny_checkpoint
from ziprerank.train.data.page_store import PageStore
from ziprerank.train.errors import TrainError
from ziprerank.train.model.ranker import Ranker
from ziprerank.train.optim.optimisation import Optimisation
from ziprerank.train.optim.optimisers import build
from ziprerank.train.run.loop import run
from ziprerank.train.stages.reading import (
    HEADS,
    Crops,
    Reading,
    ReadingBatch,
    ReadingStage,
    is_held_out,
    spread_positions,
    token_weights,
    training_pages,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``model`` and ``store``."""
    folder = tmp_path_factory.mktemp("reading")
    save_tiny_checkpoint(folder / "model", tied=True, scale=0.5)
    make_store(folder, documents=3, pages=2)
    return folder


def stage(root: Path, **changes: object) -> ReadingStage:
    settings = {
        "stores": (root / "store",),
        "sizes": (Crops(count=2, rows=2, cols=3), Crops(count=1, rows=3, cols=3, share=0.5)),
        "spell_after": 1,
        "held_out": 0.0,
    }
    return ReadingStage(**{**settings, **changes})  # type: ignore[arg-type]


def task(root: Path, *, checkpoint: Path | None = None, **changes: object) -> Reading:
    made = stage(root, **changes).task(str(checkpoint or root / "model"), seed=4, weights="fp32")
    assert isinstance(made, Reading)
    return made


def test_batches_follow_from_the_step_alone(root: Path) -> None:
    one, other = task(root), task(root)
    shapes = set()
    for step in (5, 0, 3, 1, 2, 4):
        batch, again = one.batch(step), other.batch(step)
        for name in ReadingBatch.__slots__:
            assert torch.equal(getattr(batch, name), getattr(again, name)), name
        shapes.add(tuple(batch.pixels.shape))
    other.batch(9)
    assert not torch.equal(one.batch(0).pixels, one.batch(6).pixels)
    assert shapes == {(2, 64, 96), (1, 96, 96)}


def test_cells_are_blank_or_hold_tokens(root: Path) -> None:
    made = task(root)
    for step in range(4):
        batch = made.batch(step)
        crops, height, width = batch.pixels.shape
        cells = crops * height * width // 32**2
        assert set(batch.cell.tolist()) | set(batch.blank.tolist()) == set(range(cells))
        assert not set(batch.cell.tolist()) & set(batch.blank.tolist())
        assert batch.slots.shape == (crops, height * width // 16**2, 8)
        assert batch.weight.min() > 0
        assert batch.weight.max() <= 1
        # a cell is blank exactly where, but for fringes of words, nothing is printed
        tiles = batch.slots.view(-1, 4 * 8)  # the patches of a cell follow one another
        assert (tiles[batch.cell] != 32).any(1).all()


def test_scanned_crops_are_grey_and_hold_their_words(root: Path) -> None:
    clean, scanned = task(root), task(root, scanned=1.0)
    greys = []
    for made in (clean, scanned):
        batches = [made.batch(step) for step in range(12)]
        assert all(len(batch.cell) for batch in batches)
        greys.append(np.mean([((batch.pixels > 0) & (batch.pixels < 255)).float().mean() for batch in batches]))
    assert greys[1] > max(0.9, greys[0] + 0.1)


def test_loss_is_the_cross_entropy_over_the_batchs_tokens(root: Path) -> None:
    """Cell by cell; and over the whole vocabulary when the batch holds all of it."""
    made = task(root)
    generator = torch.Generator().manual_seed(1)
    vocabulary, width = made.module.embeddings.shape
    cells = torch.arange(vocabulary) % 50
    tokens = torch.randperm(vocabulary, generator=generator)
    batch = ReadingBatch(
        pixels=torch.zeros(1, 32, 32, dtype=torch.uint8),
        cell=cells[tokens != 0],
        token=tokens[tokens != 0],
        weight=torch.rand(vocabulary - 1, generator=generator) / 100,
        blank=torch.tensor([50, 51, 52]),
        slots=torch.zeros(1, 4, 8, dtype=torch.int64),
    )
    visual = F.normalize(torch.randn(53, width, generator=generator), dim=-1)
    logits = 16.0 * visual @ F.normalize(made.ranker.table.weight.detach(), dim=-1).T  # every token of the vocabulary
    sums, importance = 0.0, 0.0
    for cell in range(50):
        mine = batch.cell == cell
        weight = batch.weight[mine]
        target = torch.zeros(vocabulary).index_add_(0, batch.token[mine], weight / weight.sum())
        sums += float(min(weight.sum(), torch.tensor(1.0)) * F.cross_entropy(logits[cell], target))
        importance += float(min(weight.sum(), torch.tensor(1.0)))
    expected = sums / importance + 0.05 * float(F.cross_entropy(logits[50:], torch.zeros(3, dtype=torch.int64)))
    with torch.no_grad():
        loss, logged = made._reading_loss(visual, batch)
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    assert logged == {"reading": float(loss)}  # no token is of content: nothing to take a recall over

    few = ReadingBatch(
        batch.pixels, torch.tensor([0, 1]), torch.tensor([7, 9]), torch.tensor([0.8, 0.5]), batch.blank, batch.slots
    )
    part = logits[:, [0, 7, 9]]
    inked = (0.8 * F.cross_entropy(part[0], torch.tensor(1)) + 0.5 * F.cross_entropy(part[1], torch.tensor(2))) / 1.3
    blank = F.cross_entropy(part[50:], torch.zeros(3, dtype=torch.int64))
    with torch.no_grad():
        loss, _ = made._reading_loss(visual, few)
    assert float(loss) == pytest.approx(float(inked + 0.05 * blank), rel=1e-4)


def test_recall_counts_tokens_of_content_among_their_cells_ten_nearest(root: Path) -> None:
    made = task(root)
    generator = torch.Generator().manual_seed(2)
    tokens = torch.arange(20, 60)
    cells = torch.arange(40) % 7
    weight = torch.where(torch.arange(40) % 3 == 0, 0.4, 0.9)
    blank = torch.tensor([7])
    slots = torch.zeros(1, 4, 8, dtype=torch.int64)
    batch = ReadingBatch(torch.zeros(1, 32, 32, dtype=torch.uint8), cells, tokens, weight, blank, slots)
    visual = F.normalize(torch.randn(8, made.module.embeddings.shape[1], generator=generator), dim=-1)
    with torch.no_grad():
        _, logged = made._reading_loss(visual, batch)
    known = [0, *range(20, 60)]
    near = [sorted(known, key=lambda t: -float(visual[c] @ made.module.embeddings[t]))[:10] for c in range(7)]
    right = [int(t) in near[int(c)] for t, c, w in zip(tokens, cells, weight, strict=True) if w > 0.6]
    assert 0 < sum(right) < len(right)
    assert logged["recall"] == pytest.approx(sum(right) / len(right))


def test_a_few_steps_on_one_batch_lower_both_losses(root: Path) -> None:
    made = task(root)
    optimisers = build(made.module, Optimisation(steps=20, lr=0.01, optimiser="muon"), no_muon=made.no_muon)
    assert len(optimisers) == 2
    batch = made.batch(0)
    history = []
    for _ in range(20):
        loss, values = made.loss(batch, 0.0)
        assert float(loss.detach()) == pytest.approx(values["reading"] + 0.5 * values["spelling"], rel=1e-5)
        for optimiser in optimisers:
            optimiser.zero_grad()
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        history.append(values)
    assert history[-1]["reading"] < 0.7 * history[0]["reading"]
    assert history[-1]["spelling"] < 0.7 * history[0]["spelling"]
    assert not any(parameter.requires_grad for parameter in made.ranker.module.model.language_model.parameters())


def test_spelling_alone_trains_the_first_blocks_alone(root: Path) -> None:
    made = task(root, read=False)
    loss, values = made.loss(made.batch(0), 0.0)
    assert set(values) == {"spelling", "characters"}
    loss.backward()
    visual = made.module.tower.visual
    moved = [any(p.grad is not None for p in block.parameters()) for block in visual.blocks]
    assert moved == [True, True, False, False]
    assert all(parameter.grad is None for parameter in visual.merger.parameters())


def test_the_result_is_a_checkpoint_and_a_second_stage_goes_on_with_its_heads(root: Path, tmp_path: Path) -> None:
    first = task(root)
    run(first, Optimisation(steps=2, lr=0.01), tmp_path / "first", seed=4)
    result = tmp_path / "first" / "model"
    for name in ("tokenizer.json", "prompt.json", "preprocessor_config.json"):
        assert (result / name).read_bytes() == (root / "model" / name).read_bytes()
    settings = json.loads((tmp_path / "first" / "finished.json").read_text())["settings"]
    assert settings["sizes"][0] == {"count": 2, "rows": 2, "cols": 3, "share": 1.0}
    assert str(root) not in json.dumps(settings)

    second = task(root, checkpoint=result)
    trained, untouched = dict(first.module.named_parameters()), dict(task(root).module.named_parameters())
    for name, value in second.module.named_parameters():
        torch.testing.assert_close(value, trained[name], rtol=1e-5, atol=1e-6)  # positions are folded again
    assert not torch.equal(trained["spell.weight"], untouched["spell.weight"])
    assert not torch.equal(trained["log_scale"], untouched["log_scale"])
    one, _ = first.loss(first.batch(7), 0.0)
    other, _ = second.loss(second.batch(7), 0.0)
    assert float(one) == pytest.approx(float(other), rel=1e-4)
    start, after = Ranker(root / "model").module, Ranker(result).module
    assert torch.equal(start.model.language_model.norm.weight, after.model.language_model.norm.weight)
    assert not torch.equal(start.model.visual.merger.linear_fc2.weight, after.model.visual.merger.linear_fc2.weight)

    with pytest.raises(TrainError, match=r"spell_after is 2: .* trained after block 1"):
        task(root, checkpoint=result, spell_after=2)
    (result / HEADS).unlink()
    assert float(task(root, checkpoint=result).module.log_scale.detach()) == pytest.approx(
        float(untouched["log_scale"])
    )


def test_folding_positions_keeps_their_mean_and_is_done_once(root: Path) -> None:
    visual = Ranker(root / "model").module.model.visual
    bias = visual.patch_embed.proj.bias.detach().clone()
    mean = visual.pos_embed.weight.detach().mean(0)
    grey = visual.patch_embed.proj.weight.detach().sum((1, 2))
    spread_positions(visual)
    torch.testing.assert_close(visual.patch_embed.proj.bias.detach(), bias + mean)
    assert not visual.pos_embed.weight.any()
    torch.testing.assert_close(visual.patch_embed.proj.weight.detach().sum((1, 2)), grey)  # grey pages look the same
    before = visual.patch_embed.proj.weight.detach().clone()
    spread_positions(visual)
    torch.testing.assert_close(visual.patch_embed.proj.weight.detach(), before)


def test_whole_documents_are_held_out(root: Path) -> None:
    store = PageStore(root / "store")
    names = [f"manuals/document-{number}.pdf" for number in range(2000)]
    assert 0.2 < sum(is_held_out(name, 0.3) for name in names) / 2000 < 0.4
    assert not any(is_held_out(name, 0.0) for name in names)
    for share in (0.3, 0.9):
        expected = [index for index in range(len(store)) if not is_held_out(store.document(index), share)]
        assert training_pages(store, share) == expected


def test_frequent_tokens_weigh_less(root: Path) -> None:
    store = PageStore(root / "store")
    vocabulary = int(store.token_ids.max()) + 10
    weights = token_weights([store, store], vocabulary)
    counts = torch.bincount(torch.from_numpy(store.token_ids.astype("int64")), minlength=vocabulary)
    for token in counts.argsort(descending=True)[:40].tolist():
        frequency = float(counts[token] / counts.sum())
        expected = min(1.0, max(0.1, (frequency * 2000) ** -0.5))
        assert weights[token] == pytest.approx(expected, rel=1e-4)
    assert weights.min() < 0.5
    assert weights.max() == 1


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"stores": ()}, "stores and sizes"),
        ({"shares": (0.5, 0.5)}, "one of at least 0 for each store"),
        ({"held_out": 1.0}, "held_out is 1.0"),
        ({"scanned": 1.5}, "scanned is 1.5"),
        ({"longest_side": (900, 1000)}, r"no page for training of 900\.\.1000 px"),
        ({"spell_after": 4}, "the tower has 4 blocks"),
    ],
)
def test_wrong_settings_are_refused(root: Path, changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(TrainError, match=complaint):
        task(root, **changes)
