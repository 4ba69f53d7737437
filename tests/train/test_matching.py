"""The auxiliary losses and the matching stage, on small stores and models."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from store_pages import make_store
from tiny_checkpoint import save_tiny_checkpoint
from torch import Tensor
from ziprerank.train import matching
from ziprerank.train.auxiliary import Auxiliary, AuxiliaryWeights
from ziprerank.train.data.finding import plain_word
from ziprerank.train.data.page_store import PageStore
from ziprerank.train.errors import TrainError
from ziprerank.train.matching import MatchingBatch, MatchingStage, MatchingTask
from ziprerank.train.model import EncodedPage, Ranker, Scored
from ziprerank.train.reading import is_held_out
from ziprerank.train.teachers import Candidate


def save_without_deepstack(source: Path, out: Path) -> None:
    ranker = Ranker(source)
    for merger in ranker.module.model.visual.deepstack_merger_list:
        torch.nn.init.zeros_(merger.linear_fc2.weight)
        torch.nn.init.zeros_(merger.linear_fc2.bias)
    ranker.save(out)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``model`` without DeepStack, ``deep`` with it, and ``store``."""
    folder = tmp_path_factory.mktemp("matching")
    save_tiny_checkpoint(folder / "deep", tied=True, layers=3)
    (folder / "model").mkdir()
    save_without_deepstack(folder / "deep", folder / "model")
    make_store(folder, documents=6, pages=4, words=24)
    return folder


def stage(root: Path, **changes: object) -> MatchingStage:
    names = PageStore(root / "store").documents
    # a share that holds out some documents and leaves some
    held_out = next(s / 100 for s in range(1, 100) if 0 < sum(is_held_out(name, s / 100) for name in names) < 6)
    settings = {
        "store": root / "store",
        "features": root / "features",
        "candidates": (2, 4),
        "held_out": held_out,
        "evaluate_examples": 3,
    }
    return MatchingStage(**{**settings, **changes})  # type: ignore[arg-type]


def task(root: Path, **changes: object) -> MatchingTask:
    made = stage(root, **changes).task(str(root / "model"), seed=2, weights="fp32")
    assert isinstance(made, MatchingTask)
    return made


def same(one: MatchingBatch, other: MatchingBatch) -> bool:
    def equal(a: object, b: object) -> bool:
        if isinstance(a, list):
            assert isinstance(b, list)
            return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
        return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else bool(a == b)

    return all(equal(getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(one))


def test_auxiliary_losses_are_the_plain_ones() -> None:
    torch.manual_seed(0)
    weights = AuxiliaryWeights(match=0.7, relevance=0.3, ordinal=0.2)
    heads = Auxiliary(16, weights)
    hidden = {0: torch.randn(30, 16), 1: torch.randn(30, 16)}
    kept = (torch.tensor([0, 2, 3]), torch.tensor([1, 4, 5, 6]))
    cells = [torch.tensor([1, 0, 0, 1, 0, 0]).bool(), torch.tensor([0, 1, 0, 0, 0, 0, 0]).bool()]
    visual, ends = torch.tensor([4, 5, 6, 10, 11, 12, 13]), torch.tensor([7, 14])
    scored = Scored(torch.zeros(2), kept, None, hidden, visual, ends, [])
    loss, logged = heads(scored, cells, 1)

    labels = [1, 0, 1, 1, 0, 0, 0]  # of the tokens kept
    loss = loss.detach()
    scores = heads.match(hidden[0][visual])[:, 0].detach()
    match = sum(float(-torch.log(torch.sigmoid(s if y else -s))) for s, y in zip(scores, labels, strict=True)) / 7
    pages = heads.page(hidden[1][ends]).detach()
    relevance = -float(torch.log_softmax(pages[:, 0], 0)[1])
    ordinal = -float((torch.log_softmax(pages[0, 1:], 0)[0] + torch.log_softmax(pages[1, 1:], 0)[1]) / 2)
    assert float(loss) == pytest.approx(0.7 * match + 0.3 * relevance + 0.2 * ordinal, rel=1e-5)
    found = [float(score) > 0 for score in scores]
    right = sum(f and bool(y) for f, y in zip(found, labels, strict=True))
    assert logged["match_recall"] == pytest.approx(right / 3)
    assert logged["match_precision"] == pytest.approx(right / max(1, sum(found)))
    assert logged["page_first"] == float(pages[1, 0] > pages[0, 0])


def test_rare_matches_are_weighed_up() -> None:
    torch.manual_seed(1)
    heads = Auxiliary(8, AuxiliaryWeights(relevance=0.0, ordinal=0.0))
    hidden = {0: torch.randn(102, 8), 1: torch.randn(102, 8)}
    labels = torch.zeros(100, dtype=torch.bool)
    labels[:2] = True
    scored = Scored(torch.zeros(1), (torch.arange(100),), None, hidden, torch.arange(100), torch.tensor([101]), [])
    loss = heads(scored, [labels], 0)[0].detach()
    scores = heads.match(hidden[0][:100])[:, 0].detach()
    each = torch.where(labels, -5 * torch.nn.functional.logsigmoid(scores), -torch.nn.functional.logsigmoid(-scores))
    assert float(loss) == pytest.approx(float(each.mean()), rel=1e-5)  # 2 of 100 count as 10


def test_batches_follow_from_the_step_alone(root: Path) -> None:
    one, other = task(root), task(root)
    first = [one.batch(step) for step in range(4)]
    for step in (3, 1, 0, 2):
        assert same(other.batch(step), first[step])
    assert not same(first[0], first[1])
    assert {batch.keep_ratio for batch in first + [one.batch(s) for s in range(4, 12)]} == {1.0, 0.5, 0.25}
    for batch in first:
        assert batch.order[0] == batch.truth
        assert sorted(batch.order) == list(range(len(batch.tokens)))
        assert 2 <= len(batch.tokens) <= 4


def test_labels_of_kept_tokens_are_what_stands_in_their_cells(root: Path) -> None:
    """From the words' boxes, for the tokens that pruning kept; a candidate's features tell which page it is."""
    made = task(root)
    features, store = made.features, made.store
    for step in range(3):
        batch = made.batch(step)
        tokens, grids = batch.tokens, batch.grids
        pages = [EncodedPage(t, (torch.zeros_like(t),) * 3, g) for t, g in zip(tokens, grids, strict=True)]
        with torch.no_grad():
            scored = made.ranker.score(batch.query, pages, 0.5)
        asked = set(batch.query.split())
        positives = 0
        for number, (values, grid) in enumerate(zip(tokens, grids, strict=True)):
            (index,) = [k for k in range(len(features)) if torch.equal(features.tokens(k).view(-1, 32), values)]
            page = store[int(features.pages[index])]
            cols = grid[1] // 2
            assert grid == tuple(side // 16 for side in page.pixels.shape)
            for place in scored.kept[number].tolist():
                x0, y0 = place % cols * 32, place // cols * 32
                expected = False
                for (left, top, right, bottom), word in zip(page.token_boxes, page.token_words, strict=True):
                    if plain_word(page.words[word]) in asked:
                        across = min(right, x0 + 32) - max(left, x0)
                        down = min(bottom, y0 + 32) - max(top, y0)
                        wide, tall = max(right - left, 1), max(bottom - top, 1)
                        expected |= bool(across >= min(0.3 * wide, 8) and down >= min(0.5 * tall, 16))
                assert bool(batch.matching[number][place]) == expected
                positives += expected
        assert positives > 0


@pytest.mark.parametrize("loss", ["ranknet", "soft_ranking"])
def test_a_few_steps_lower_the_loss(root: Path, loss: str) -> None:
    made = task(root, loss=loss, keep_ratio=(0.5,))
    trained = [parameter for parameter in made.module.parameters() if parameter.requires_grad]
    assert not made.ranker.table.weight.requires_grad
    table = made.ranker.table.weight.clone()
    optimiser = torch.optim.AdamW(trained, lr=0.005)
    batch = made.batch(0)
    history = []
    for _ in range(12):
        value, logged = made.loss(batch, 0.0)
        assert torch.isfinite(value)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        history.append((float(value.detach()), logged["ranking"]))
    assert history[-1][0] < 0.6 * history[0][0]
    assert history[-1][1] < history[0][1]
    assert logged["first"] == 1
    assert torch.equal(made.ranker.table.weight, table)


def test_parts_grow_to_whole_pages(root: Path) -> None:
    made = task(root, cells=3, grow=40)
    grids = [made.batch(step).grids for step in (0, 40)]
    assert all(grid == (6, 6) for grid in grids[0])
    assert all(grid == (12, 12) for grid in grids[1])


def test_evaluation_is_of_held_out_documents(root: Path) -> None:
    made = task(root)
    with torch.no_grad():
        values = made.evaluate(0)
        assert values == made.evaluate(7)
    names = ("ranking", "first", "match_recall", "match_precision", "page_first", "ordinal")
    assert set(values) == {f"eval_{name}" for name in names}
    assert all(np.isfinite(value) for value in values.values())
    with pytest.raises(TrainError, match="no document is held out"):
        task(root, held_out=0.0).evaluate(0)


def test_result_is_a_checkpoint_with_its_files(root: Path, tmp_path: Path) -> None:
    made = task(root)
    (tmp_path / "out").mkdir()
    made.save(tmp_path / "out")
    again = Ranker(tmp_path / "out")
    assert (tmp_path / "out" / "prompt.json").read_bytes() == (root / "model" / "prompt.json").read_bytes()
    assert torch.equal(again.table.weight, made.ranker.table.weight)


def test_what_the_stage_cannot_do_is_refused(root: Path) -> None:
    with pytest.raises(TrainError, match="DeepStack level 0 is not zero"):
        stage(root).task(str(root / "deep"), seed=0, weights="fp32")
    with pytest.raises(TrainError, match="no document has 5 encoded pages"):
        task(root, candidates=(5, 6))
    with pytest.raises(TrainError, match="candidates are"):
        stage(root, candidates=(5, 4))


class Last:
    """A teacher for whom the candidate with most words of the query is the last."""

    def order(self, query: str, candidates: Sequence[Candidate]) -> tuple[int, ...]:
        hits = [len(set(query.split()) & set((candidate.text or "").split())) for candidate in candidates]
        return tuple(sorted(range(len(hits)), key=hits.__getitem__))


def test_a_store_without_usable_queries_is_an_error_and_no_endless_search(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "_TRIES", 15)
    made = task(root)
    monkeypatch.setattr(made, "teacher", Last())
    with pytest.raises(TrainError, match="15 sets of pages gave no query"):
        made.batch(0)
