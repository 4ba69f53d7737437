"""BM25 and another system together: the rule, the command that fixes its weight, and the rows of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.quality.fusion import fused, main
from bench.quality.queries import Query, write_queries
from bench.quality.report import label
from bench.quality.run import main as run
from bench.quality.systems import Run

SAMPLE = Path(__file__).parents[2] / "python" / "examples"
CANDIDATES = (4, 9, 16, 1)
QUERIES = [
    Query("sample.pdf", "whale bird rats biologist", "keywords", 16, CANDIDATES),
    Query("sample.pdf", "tidy the lavatories", "paraphrase", 1, CANDIDATES),
]


def scored(name: str, *scores: list[float]) -> Run:
    made = Run(name)
    for query, own in zip(QUERIES, scores, strict=True):
        made.add(query, own)
    return made


def test_scores_are_standardised_and_added() -> None:
    words = scored("bm25", [0, 0, 8, 0], [3, 1, 1, 1])
    model = scored("model", [0.2, 0.1, 0.1, 0.2], [-1, -1, -1, 2])
    assert (words.ranks, model.ranks) == ([1, 4], [4, 1])
    both = fused(words, model, QUERIES, 0.4)
    assert both.system == "model + BM25"
    # by hand: deviations are 2 sqrt(3), 0.05, sqrt(0.75) and 3 sqrt(3) / 4
    expected = [
        [0.6 * -(3**-0.5) + 0.4, 0.6 * -(3**-0.5) - 0.4, 0.6 * 3**0.5 - 0.4, 0.6 * -(3**-0.5) + 0.4],
        [0.6 * 3**0.5 - 0.4 * 3**-0.5, -(3**-0.5), -(3**-0.5), 0.6 * -(3**-0.5) + 0.4 * 3**0.5],
    ]
    assert both.scores == [pytest.approx(row) for row in expected]
    assert both.ranks == [1, 2]
    assert fused(words, model, QUERIES, 0.6).ranks == [3, 1]
    assert fused(words, model, QUERIES, 0).ranks == words.ranks
    assert fused(words, model, QUERIES, 1).ranks == model.ranks


def test_equal_scores_say_nothing() -> None:
    silent = scored("silent", [5, 5, 5, 5], [0, 0, 0, 0])
    model = scored("model", [0.2, 0.1, 0.3, 0.2], [-1, -1, -1, 2])
    assert fused(silent, model, QUERIES, 0.01).ranks == model.ranks == [1, 1]


def test_the_command_has_a_row_for_each_weight(tmp_path: Path) -> None:
    write_queries(tmp_path / "asked.jsonl", QUERIES)
    main([str(tmp_path / "rows.jsonl"), "--documents", str(SAMPLE), "--queries", str(tmp_path / "asked.jsonl")])
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["weight"] for row in rows] == pytest.approx([step / 20 for step in range(21)])
    assert {row["n"] for row in rows} == {2}
    arguments = [str(tmp_path / "all.jsonl"), "--documents", str(SAMPLE), "--queries", str(tmp_path / "asked.jsonl")]
    run([*arguments, "--keep-ratio", "0.5", "--fuse", "0.3"])
    whole = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text(encoding="utf-8").splitlines()]
    whole = [row for row in whole if (row["document"], row["kind"]) == ("all", "all")]
    assert [row["system"] for row in whole] == ["chance", "bm25 on the true text", "ziprerank", "ziprerank + BM25"]
    assert [rows[0]["mrr"], rows[-1]["mrr"]] == [whole[1]["mrr"], whole[2]["mrr"]]  # one of the two alone
    assert label(whole[3], whole) == f"{label(whole[2], whole)} + BM25"
    assert [entry["to"]["system"] for entry in whole[3]["differences"]] == ["bm25 on the true text", "ziprerank"]
