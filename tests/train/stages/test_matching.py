"""The matching stage, on small stores and models."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from store_pages import make_store
from tiny_checkpoint import save_tiny_checkpoint
from tiny_wordnet import write_synonyms
from torch import Tensor
from ziprerank.train.data.page_store import PageStore
from ziprerank.train.errors import TrainError
from ziprerank.train.model.ranker import Ranker
from ziprerank.train.stages import matching
from ziprerank.train.stages.matching import MatchingBatch, MatchingStage, MatchingTask
from ziprerank.train.stages.reading import is_held_out
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


def test_tokens_are_those_of_the_page_or_of_its_part(root: Path) -> None:
    """Every candidate's tokens stand together, in its grid, in the features of one page."""
    made = task(root, parts=0.5, cells=(2, 5))
    features = made.features
    pages = [features.tokens(number) for number in range(len(features))]
    sizes = set()
    for step in range(12):
        batch = made.batch(step)
        for tokens, grid in zip(batch.tokens, batch.grids, strict=True):
            rows, cols = grid[0] // 2, grid[1] // 2
            part = tokens.view(rows, cols, -1)
            windows = (
                page[top : top + rows, left : left + cols]
                for page in pages
                for top in range(page.shape[0] - rows + 1)
                for left in range(page.shape[1] - cols + 1)
            )
            assert any(torch.equal(window, part) for window in windows)
            sizes.add((rows, cols))
    assert (6, 6) in sizes
    assert any(rows < 6 for rows, _ in sizes)
    assert all(2 <= rows <= 6 for rows, _ in sizes)


@pytest.mark.parametrize(("loss", "left"), [("listwise", 0.7), ("soft_ranking", 0.9)])  # soft targets have an entropy
def test_a_few_steps_lower_the_loss(root: Path, loss: str, left: float) -> None:
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
        history.append(float(value.detach()))
    assert history[-1] < left * history[0]
    assert logged["first"] == 1
    assert torch.equal(made.ranker.table.weight, table)


def test_the_listwise_loss_is_of_the_first_letter_and_ten_times_ranknet(root: Path) -> None:
    made = task(root, loss="listwise", keep_ratio=(0.5,))
    batch = made.batch(1)
    value, logged = made.loss(batch, 0.0)
    with torch.no_grad():
        scored = made.score(batch, first_letter=True)
    assert scored.language_loss is not None
    worse = [
        (better, page) for place, better in enumerate(batch.order) for page in batch.order[place + 1 :]
    ]  # RankNet, pair by pair
    ranknet = sum(
        float(torch.log1p(torch.exp(scored.logits[other] - scored.logits[better])))
        / (batch.order.index(better) + batch.order.index(other) + 2)
        for better, other in worse
    ) / len(worse)
    assert logged["ranking"] == pytest.approx(ranknet, rel=1e-5)
    assert logged["language"] == pytest.approx(float(scored.language_loss), rel=1e-5)
    assert value.item() == pytest.approx(logged["language"] + 10 * ranknet, rel=1e-5)
    among_letters = float(-torch.log_softmax(scored.logits, 0)[batch.order[0]])
    assert logged["language"] > among_letters  # over the whole vocabulary


def test_evaluation_is_of_held_out_documents(root: Path) -> None:
    made = task(root)
    with torch.no_grad():
        values = made.evaluate(0)
        assert values == made.evaluate(7)
    assert set(values) == {"eval_ranking", "eval_first", "eval_order"}
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
    with pytest.raises(TrainError, match="cells are"):
        stage(root, cells=(9, 4))
    with pytest.raises(TrainError, match=r"parts is 1\.5"):
        stage(root, parts=1.5)
    for wrong in ({"reworded": 0.5}, {"reworded": 1.5, "synonyms": root}):
        with pytest.raises(TrainError, match=r"reworded is \d\.5: .* needs synonyms"):
            stage(root, **wrong)


def test_reworded_queries_are_found_on_the_same_page(root: Path, tmp_path: Path) -> None:
    plain = task(root)
    examples = [plain.batch(step) for step in range(6)]
    meant = {word: f"{word}ness" for example in examples for word in example.query.split()}
    write_synonyms(tmp_path, meant)
    changed = [task(root, synonyms=tmp_path, reworded=1.0).batch(step) for step in range(6)]
    for one, other in zip(examples, changed, strict=True):
        assert (one.truth, one.order) == (other.truth, other.order)
        assert one.query != other.query
        for before, after in zip(one.query.split(), other.query.split(), strict=True):
            assert after in (before, meant[before])


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
