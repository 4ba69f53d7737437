"""A budget of a batch is each row's own: it lowers what is read of the row, and the row says what was chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from batch_job import rows_of
from slow_reranker import HUGE, slow_reranker
from small_bundle import copy_default_bundle
from ziprerank.batch.job import job_of
from ziprerank.batch.parts import Output
from ziprerank.batch.ranking import Ranker
from ziprerank.batch.rows import Group, Row
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineOptions

SAMPLE = Path(__file__).parents[2] / "python" / "examples" / "sample.pdf"
DOCUMENTS = (str(SAMPLE), str(SAMPLE))  # 36 pages, of which a first stage leaves 20
QUERIES = ("dividend per share", "board of directors")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With pages of 256 px, of whose tokens every keep ratio leaves another number."""
    return copy_default_bundle(tmp_path_factory.mktemp("bundle") / "small", 256)


@pytest.fixture
def slow(bundle: Path) -> Reranker:
    return slow_reranker(bundle)


def ranked(slow: Reranker, bundle: Path, out: Path, kind: Any, **options: Any) -> list[dict[str, Any]]:
    ranker = Ranker(EngineOptions(bundle, threads=1, blank="keep"), **options)
    group = Group(tuple(Row(str(at), query, DOCUMENTS) for at, query in enumerate(QUERIES)))
    with Output(out, job_of(ranker), kind=kind) as output:
        for done in ranker.rank(slow, group):
            output.add(done.rows)
    return rows_of(out)


def read(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [page for page in row["results"] if page["passes"]]


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_budget_lowers_what_is_read_of_each_row(slow: Reranker, bundle: Path, tmp_path: Path, kind: str) -> None:
    usual = ranked(slow, bundle, tmp_path / "usual", kind)
    assert [(row["error"], row["budget"], len(read(row))) for row in usual] == [(None, None, 20)] * 2
    for options, candidates, ratio in (
        ({}, 3, 0.1),
        ({"candidates": 8}, 8, 0.1),
        ({"keep_ratio": 0.25}, 3, 0.25),
    ):
        out = tmp_path / f"{candidates}-{ratio}"
        for row in ranked(slow, bundle, out, kind, budget_ms=1.0, **options):
            assert row["error"] is None
            assert (row["budget"]["candidates"], row["budget"]["keep_ratio"]) == (candidates, ratio)
            assert row["budget"]["estimated_ms"] > HUGE
            assert len(read(row)) == candidates
            assert {page["kept"] for page in read(row)} == {max(1, round(ratio * page["tokens"])) for page in read(row)}
            assert len(row["results"]) == 36
