"""The last layer of a tower that read another vocabulary, fitted to the one that it reads now."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from store_pages import make_store
from tiny_checkpoint import save_tiny_checkpoint
from ziprerank.train.stages.pointing import fit_last_layer
from ziprerank.train.stages.reading import BLANK_TOKEN, Crops, Reading, ReadingStage

BATCHES = 12


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Reading:
    folder = tmp_path_factory.mktemp("pointing")
    save_tiny_checkpoint(folder / "model", tied=True, scale=0.5)
    make_store(folder, documents=3, pages=2)
    stage = ReadingStage(
        stores=(folder / "store",), sizes=(Crops(count=4, rows=3, cols=3),), spell_after=1, held_out=0.0
    )
    made = stage.task(str(folder / "model"), seed=4, weights="fp32")
    assert isinstance(made, Reading)
    return made


def test_the_fit_is_the_least_squares_solution(reading: Reading) -> None:
    """No small change of the last layer brings the weighted mean square nearer to zero, and the loss has gone down."""
    last = reading.reader.tower.visual.merger.linear_fc2
    losses = [mean_loss(reading)]
    before = {name: value.clone() for name, value in reading.reader.named_parameters()}
    fit_last_layer(reading, BATCHES)
    losses.append(mean_loss(reading))
    changed = [name for name, value in reading.reader.named_parameters() if not torch.equal(value, before[name])]
    assert changed == ["tower.visual.merger.linear_fc2.weight", "tower.visual.merger.linear_fc2.bias"]
    assert losses[1] < losses[0] - 0.3

    fitted = squares(reading)
    generator = torch.Generator().manual_seed(1)
    for value in (last.weight, last.bias):
        for _ in range(3):
            step = 0.02 * value.detach().std() * torch.randn(value.shape, generator=generator)
            for sign in (1, -1):
                value.data.add_(sign * step)
                assert squares(reading) > fitted
                value.data.sub_(sign * step)


def mean_loss(reading: Reading) -> float:
    return sum(reading.loss(reading.batch(step), 0.0)[1]["reading"] for step in range(BATCHES)) / BATCHES


@torch.no_grad()
def squares(reading: Reading) -> float:
    """The weighted squared distance, token by token, between what the tower says and what is printed."""
    total = 0.0
    for step in range(BATCHES):
        batch = reading.batch(step)
        state, _ = reading.reader.tower.hidden(
            reading.reader.tower.patches(batch.pixels), reading.reader.tower.grid(batch.pixels)
        )
        said = reading.reader.tower.tokens(state).flatten(0, 1)
        text = 0.0
        for cell in batch.cell.unique().tolist():
            here = batch.cell == cell
            share = batch.weight[here] / batch.weight[here].sum()
            target = share @ F.normalize(reading.ranker.table.weight.float(), dim=-1)[batch.token[here]]
            counts = min(1.0, float(batch.weight[here].sum()))
            total += counts * float((said[cell] - target).square().sum())
            text += counts
        blank = said[batch.blank] - reading.reader.embeddings[BLANK_TOKEN]
        if len(blank):
            total += 0.05 * text * float(blank.square().sum(-1).mean())
    return total
