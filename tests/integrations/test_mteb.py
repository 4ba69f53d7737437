"""``mteb.evaluate`` on a task that is built here, without the hub: rankings are the library's, windows included."""

from __future__ import annotations

import inspect
import io
from pathlib import Path
from typing import Any

import pytest
from eval_data import page_image
from option_values import CALL_VALUES
from PIL import Image
from slow_reranker import slow_reranker
from ziprerank.errors import InvalidInput, PageError, PageWarning
from ziprerank.ranking import Ranking
from ziprerank.reranker import Reranker

mteb = pytest.importorskip("mteb", reason="mteb is not installed: pip install 'ziprerank[mteb]'")

from datasets import Dataset, Features, Value  # noqa: E402 - after the check that mteb is here
from datasets import Image as ImageFeature  # noqa: E402
from mteb.abstasks.retrieval import AbsTaskRetrieval  # noqa: E402
from mteb.abstasks.task_metadata import TaskMetadata  # noqa: E402
from mteb.cache import ResultCache  # noqa: E402
from ziprerank.integrations.mteb import ZipRerankSearch  # noqa: E402

WORDS = ("whale", "bird", "rat", "share", "board", "paper", "letter", "window", "night", "river", "stone", "cloud")
PAGES = {f"p{number}": page_image(f"{word} {number}") for number, word in enumerate(WORDS * 2)}
ASKED = {"q1": "where is the whale?", "q2": "which stone?"}
RELEVANT = {"q1": {"p0": 1, "p12": 1}, "q2": {"p10": 2}}
RANKED = {"q1": list(PAGES), "q2": ["p3", "p10", "p7"]}
USUAL = {
    "keep_ratio": 0.5,
    "window": "auto",
    "stride": None,
    "strategy": "auto",
    "first_stage": "auto",
    "candidates": 20,
    "instruction": None,
    "on_bad_page": "raise",
    "budget_ms": None,
    "blank": "drop",
}


class Pages(AbsTaskRetrieval):
    """A reranking task of two queries: one over 24 pages, which take several windows, and one over 3."""

    metadata = TaskMetadata(
        name="ZipRerankPages",
        description="Pages that a test draws.",
        dataset={"path": "none/here", "revision": "1"},
        type="Reranking",
        category="t2i",
        modalities=["text", "image"],
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
        reference=None,
        date=("2026-01-01", "2026-01-02"),
        domains=["Written"],
        task_subtypes=[],
        license="mit",
        annotations_creators="derived",
        dialect=[],
        sample_creation="created",
        bibtex_citation="",
    )

    def load_data(self, **_: Any) -> None:
        corpus = Dataset.from_dict(
            {"id": list(PAGES), "image": [{"bytes": data, "path": None} for data in PAGES.values()]},
            features=Features({"id": Value("string"), "image": ImageFeature()}),
        )
        queries = Dataset.from_dict({"id": list(ASKED), "text": list(ASKED.values())})
        split = {"corpus": corpus, "queries": queries, "relevant_docs": RELEVANT, "top_ranked": RANKED}
        self.dataset = {"default": {"test": split}}
        self.data_loaded = True


def test_mteb_evaluates_rankings_of_the_library(reranker: Reranker, tmp_path: Path) -> None:
    model = ZipRerankSearch(reranker=reranker, keep_ratio=0.5)
    result = mteb.evaluate(
        model, Pages(), cache=ResultCache(tmp_path / "cache"), prediction_folder=tmp_path / "predictions"
    )
    (scores,) = result.task_results[0].scores["test"]
    ranks = {}
    for name, text in ASKED.items():
        images = [Image.open(io.BytesIO(PAGES[page])) for page in RANKED[name]]
        ranks[name] = [RANKED[name][page.index] for page in reranker.rank(text, images, keep_ratio=0.5)]
    hits = [len(set(ranks[name][:3]) & set(RELEVANT[name])) / len(RELEVANT[name]) for name in ASKED]
    assert scores["recall_at_3"] == pytest.approx(sum(hits) / 2)
    first = [1 / min(ranks[name].index(page) + 1 for page in RELEVANT[name]) for name in ASKED]
    assert scores["mrr_at_1000"] == pytest.approx(sum(first) / 2)


def test_all_candidates_of_a_query_are_ranked_together(reranker: Reranker) -> None:
    task = Pages()
    task.load_data()
    split = task.dataset["default"]["test"]
    model = ZipRerankSearch(reranker=reranker)
    model.index(split["corpus"], task_metadata=task.metadata)
    found = model.search(split["queries"], top_k=1000, top_ranked=RANKED, task_metadata=task.metadata)
    assert {name: set(scored) for name, scored in found.items()} == {name: set(pages) for name, pages in RANKED.items()}
    assert sorted(found["q1"].values()) == list(range(1, 25))
    assert len(model.search(split["queries"], top_k=2, top_ranked=RANKED)["q1"]) == 2


def test_what_cannot_be_ranked_is_named(reranker: Reranker) -> None:
    task = Pages()
    task.load_data()
    split = task.dataset["default"]["test"]
    model = ZipRerankSearch(reranker=reranker)
    with pytest.raises(InvalidInput, match="index the corpus"):
        model.search(split["queries"], top_k=1, top_ranked=RANKED)
    with pytest.raises(InvalidInput, match="ranked by their 'image'"):
        model.index(split["queries"])
    model.index(split["corpus"])
    for ranked, told in ((None, "no top_ranked"), ({"q1": ["p0"]}, "'q2' has no candidates"), ({"q1": ["x"]}, "lacks")):
        with pytest.raises(InvalidInput, match=told):
            model.search(split["queries"], top_k=1, top_ranked=ranked)


def test_bad_pages_are_skipped_where_that_is_asked_for(reranker: Reranker) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (4, 3000)).save(stream, "PNG")
    corpus = Dataset.from_dict(
        {"id": ["bad", "good"], "image": [{"bytes": data, "path": None} for data in (stream.getvalue(), PAGES["p0"])]},
        features=Features({"id": Value("string"), "image": ImageFeature()}),
    )
    queries = Dataset.from_dict({"id": ["q"], "text": ["whale"]})
    ranked = {"q": ["bad", "good"]}
    model = ZipRerankSearch(reranker=reranker, on_bad_page="skip")
    model.index(corpus)
    with pytest.warns(PageWarning, match="skipped: .*at least 16 px"):
        assert model.search(queries, top_k=2, top_ranked=ranked) == {"q": {"good": 1.0}}
    model = ZipRerankSearch(reranker=reranker)
    model.index(corpus)
    with pytest.raises(PageError, match="at least 16 px"):
        model.search(queries, top_k=2, top_ranked=ranked)


def test_a_first_stage_and_a_budget_lower_what_is_read(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = slow_reranker(bundle)
    rankings: list[Ranking] = []
    rank = Reranker.rank
    monkeypatch.setattr(Reranker, "rank", lambda *given, **more: rankings.append(rank(*given, **more)) or rankings[-1])
    task = Pages()
    task.load_data()
    split = task.dataset["default"]["test"]
    both = {**RANKED, "q2": RANKED["q1"]}
    for options, candidates, ratio in (
        ({"first_stage": "none"}, 24, 0.5),
        ({"first_stage": "none", "budget_ms": 1.0}, 24, 0.1),
        ({"first_stage": "relevance", "candidates": 9}, 9, 0.5),
        ({"first_stage": "relevance", "candidates": 9, "budget_ms": 1.0}, 9, 0.1),
        ({"first_stage": "relevance", "budget_ms": 1.0}, 3, 0.1),
    ):
        model = ZipRerankSearch(reranker=slow, **options)  # type: ignore[arg-type]
        model.index(split["corpus"])
        found = model.search(split["queries"], top_k=1000, top_ranked=both)
        assert [len(scored) for scored in found.values()] == [24, 24]  # what the model does not read is ranked too
        for ranking in rankings[-2:]:
            read = [page for page in ranking if page.passes]
            assert len(read) == candidates
            assert {len(page.kept) for page in read} == {max(1, round(ratio * page.tokens)) for page in read}


@pytest.mark.parametrize("name", CALL_VALUES)
def test_an_option_of_a_ranking_is_one_here(name: str) -> None:
    parameters = inspect.signature(ZipRerankSearch).parameters
    assert parameters[name].default == inspect.signature(Reranker.rank).parameters[name].default
    assert ZipRerankSearch(**{name: CALL_VALUES[name]}).options.of_call()[name] == CALL_VALUES[name]


def test_the_results_say_what_they_depend_on(reranker: Reranker) -> None:
    meta = ZipRerankSearch(reranker=reranker, keep_ratio=0.25).mteb_model_meta
    assert reranker.bundle.bundle_id[:12] in str(meta.revision)
    assert meta.experiment_kwargs == {**USUAL, "keep_ratio": 0.25}
    lowered = ZipRerankSearch(reranker=reranker, budget_ms=750.5, first_stage="text").mteb_model_meta
    chosen = {"budget_ms": 750.5, "first_stage": "text", "keep_ratio": None, "candidates": None}  # a query's own
    assert lowered.experiment_kwargs == {**USUAL, **chosen}
