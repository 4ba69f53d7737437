"""Rows on a bundle that scores each document by itself: texts, pages, both and an instruction, as in the library."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from ziprerank import Page, Pdf, Reranker
from ziprerank.batch.job import job_of, run_job
from ziprerank.batch.parts import Output
from ziprerank.batch.ranking import Ranker
from ziprerank.batch.rows import grouped, read_rows
from ziprerank.runtime.engine import EngineOptions

SAMPLE = Path(__file__).parents[2] / "python" / "examples" / "sample.pdf"
QUERY = "dividend shareholders board directors"
INSTRUCTION = "Find pages that state an amount."
WORDS = "The board declared a dividend."


@pytest.fixture(scope="module")
def engine(yes_no_bundle: Path) -> EngineOptions:
    return EngineOptions(yes_no_bundle, threads=1, check="size")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    (tmp_path / "sample.pdf").symlink_to(SAMPLE)
    table = tmp_path / "rows.jsonl"
    data = base64.b64encode(SAMPLE.read_bytes()).decode()
    records = [
        {"id": "1", "pages": "2", "documents": [{"text": WORDS}, {"path": "sample.pdf", "text": WORDS}]},
        {"id": "2", "pages": "2", "documents": ["sample.pdf", {"bytes": data, "text": WORDS}]},
        {"id": "3", "documents": [{"path": "sample.pdf", "text": WORDS}]},
    ]
    table.write_text("\n".join(json.dumps({"query": QUERY, **record}) for record in records))
    return table


@pytest.mark.parametrize("instruction", [None, INSTRUCTION])
def test_rows_are_the_librarys(engine: EngineOptions, rows: Path, instruction: str | None) -> None:
    ranker = Ranker(engine, instruction=instruction)
    reranker = ranker.load()
    found = {
        row["id"]: row
        for group in grouped(read_rows(rows))
        for done in ranker.rank(reranker, group)
        for row in done.rows
    }
    page = Pdf(SAMPLE, 2)
    documents = {"1": [Page(text=WORDS), Page(page, WORDS)], "2": [page, Page(page, WORDS)]}
    for name, given in documents.items():
        assert found[name]["error"] is None
        wanted = {one.index: one.score for one in reranker.rank(QUERY, given, instruction=instruction)}
        assert len(set(wanted.values())) == 2
        assert {one["document"]: one["score"] for one in found[name]["results"]} == wanted
    assert found["1"]["documents"] == ["text", str(rows.parent / "sample.pdf")]
    assert found["2"]["documents"] == [str(rows.parent / "sample.pdf"), "bytes"]
    assert "text beside 18 pages: a text goes with one page" in found["3"]["error"]
    reranker.close()


def test_the_instruction_is_part_of_the_job(engine: EngineOptions) -> None:
    assert job_of(Ranker(engine)) != job_of(Ranker(engine, instruction=INSTRUCTION))


def test_other_bundles_refuse_both(bundle_path: Path, reranker: Reranker, rows: Path, tmp_path: Path) -> None:
    options = EngineOptions(bundle_path, threads=1, check="size")
    ranker = Ranker(options)

    def rank(ranker: Ranker):
        return lambda groups: (done for group in groups for done in ranker.rank(reranker, group))

    with Output(tmp_path / "texts", job_of(ranker)) as output:
        summary = run_job(read_rows(rows), output, rank(ranker))
    assert (summary.rows, summary.errors) == (3, 3)
    group = next(iter(grouped(read_rows(rows))))
    (done,) = ranker.rank(reranker, group)
    assert "a text for a bundle that reads pages only" in done.rows[0]["error"]
    asked = Ranker(options, instruction=INSTRUCTION)
    (done,) = asked.rank(reranker, group)
    assert "the prompt of this bundle has no place for one" in done.rows[0]["error"]
