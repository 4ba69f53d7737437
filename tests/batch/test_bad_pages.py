"""Warnings and skipped pages in the rows of a batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from batch_job import rows_of
from corpus.pdfs import LOST, five_pages, one_page
from ziprerank.batch.job import job_of
from ziprerank.batch.parts import Output
from ziprerank.batch.ranking import Ranker
from ziprerank.batch.rows import Group, Row
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineOptions

BAD = five_pages("/MediaBox [0 0 10 3000]")


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_rows_name_warnings_and_what_was_skipped(
    reranker: Reranker, bundle_path: Path, tmp_path: Path, kind: str
) -> None:
    ranker = Ranker(EngineOptions(bundle_path, threads=1), top_k=1, on_bad_page="skip")
    missing = str(tmp_path / "none.pdf")
    groups = [
        Group((Row("a", "invoice", (LOST["Greek"], BAD, missing)),)),
        Group((Row("b", "invoice", (missing,)),)),
        Group((Row("c", "invoice", (BAD,), pages="1-2"), Row("d", "total", (BAD,), pages="1-2"))),
    ]
    with Output(tmp_path / "out", job_of(ranker), kind=kind) as output:  # type: ignore[arg-type]
        for group in groups:
            for done in ranker.rank(reranker, group):
                assert not done.failed
                output.add(done.rows)
    first, second, third, fourth = rows_of(tmp_path / "out")
    assert [(one["document"], one["page"]) for one in first["skipped"]] == [(1, 3), (2, None)]
    assert "aspect ratio" in first["skipped"][0]["text"]
    assert first["skipped"][1]["text"] == "no such file"
    ((warned,), found) = first["warnings"], first["results"]
    assert (warned["document"], warned["page"]) == (0, 1)
    assert "text is missing" in warned["text"]
    assert (first["pages"], len(found), first["error"]) == (5, 1, None)
    assert second["skipped"] is second["warnings"] is second["results"] is None
    assert "no such file" in second["error"]
    for row in (third, fourth):
        assert (row["warnings"], row["skipped"], row["pages"]) == ([], [], 2)


def test_without_it_a_bad_page_is_the_rows_error(reranker: Reranker, bundle_path: Path) -> None:
    ranker = Ranker(EngineOptions(bundle_path, threads=1))
    (done,) = ranker.rank(reranker, Group((Row("a", "invoice", (one_page(), BAD)),)))
    (row,) = done.rows
    assert "candidate 3" in row["error"]
    assert job_of(ranker)["on_bad_page"] == "raise"
    assert job_of(replace(ranker, on_bad_page="skip"))["on_bad_page"] == "skip"
