"""``python -m bench.quality`` has the ranks of ``Reranker.rank``, and its tables show its rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ziprerank import Pdf, Reranker
from ziprerank.bundle import Bundle

from bench.quality.queries import Query, write_queries
from bench.quality.report import label, main, markers, to_bm25, with_tables
from bench.quality.run import main as run

BEGIN, END = markers("rows")
SAMPLE = Path(__file__).parents[2] / "python" / "examples"
CANDIDATES = (4, 9, 16, 1, 12, 7, 17, 2, 5, 11)
QUERIES = [
    Query("sample.pdf", "whale bird rats biologist", "keywords", 16, CANDIDATES),
    Query("sample.pdf", "tidy the lavatories", "paraphrase", 11, CANDIDATES),
    Query("sample.pdf", "left out by the limit", "paraphrase", 4, CANDIDATES),
]
KEEP_RATIOS = (1.0, 0.25)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quality")
    write_queries(folder / "asked.jsonl", QUERIES)
    run(
        [
            *(str(folder / "rows.jsonl"), "--documents", str(SAMPLE), "--queries", str(folder / "asked.jsonl")),
            *("--limit", "2", "--ranks", str(folder / "ranks.jsonl"), "--keep-ratio", *map(str, KEEP_RATIOS)),
        ]
    )
    return folder


@pytest.fixture(scope="module")
def rows(out: Path) -> list[dict[str, Any]]:
    return read(out / "rows.jsonl")


@pytest.fixture(scope="module")
def expected() -> dict[float, list[int]]:
    """Returns the right pages' ranks by the public API, one keep ratio after another."""
    reranker = Reranker.from_bundle()
    ranks: dict[float, list[int]] = {}
    for keep_ratio in KEEP_RATIOS:
        for query in QUERIES[:2]:
            pages = Pdf(SAMPLE / "sample.pdf", [page + 1 for page in query.candidates])
            ranking = reranker.rank(query.query, pages, keep_ratio=keep_ratio)
            order = [CANDIDATES[page.index] for page in ranking]
            ranks.setdefault(keep_ratio, []).append(order.index(query.page) + 1)
    return ranks


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_the_first_query_at_the_first_keep_ratio_is_timed(rows: list[dict[str, Any]]) -> None:
    timed = [row["page_ms"] > 0 for row in rows if row["keep_ratio"] == KEEP_RATIOS[0]]
    assert timed == [True] * 4
    assert not any("page_ms" in row for row in rows if row["keep_ratio"] != KEEP_RATIOS[0])


def test_recall_is_what_the_ranker_says(rows: list[dict[str, Any]], expected: dict[float, list[int]]) -> None:
    for keep_ratio, ranks in expected.items():
        (row,) = (
            row for row in rows if (row["keep_ratio"], row["document"], row["kind"]) == (keep_ratio, "all", "all")
        )
        assert row["n"] == 2
        assert [row[f"recall@{at}"] for at in (1, 3, 5)] == [sum(r <= at for r in ranks) / 2 for at in (1, 3, 5)]
        assert row["mrr"] == pytest.approx(sum(1 / r for r in ranks) / 2, abs=1e-4)
        bundle = Bundle.load()
        assert (row["bundle"], row["bundle_id"]) == (bundle.source["name"], bundle.bundle_id[:12])
        assert (row["longest_side"], row["window"]) == (bundle.image.longest_side, min(bundle.defaults.window, 10))


def test_ranks_of_every_query(out: Path, expected: dict[float, list[int]]) -> None:
    ranks = read(out / "ranks.jsonl")
    for keep_ratio in KEEP_RATIOS:
        assert [row["rank"] for row in ranks if row["keep_ratio"] == keep_ratio] == expected[keep_ratio]
    bm25 = [row for row in ranks if row["system"].startswith("bm25")]
    assert [row["query"] for row in bm25] == [query.query for query in QUERIES[:2]]
    assert bm25[0]["rank"] == 1  # the page says whale and rats, no other does


def test_every_system_has_all_rows(rows: list[dict[str, Any]]) -> None:
    groups = [("all", "all"), ("sample.pdf", "all"), ("all", "keywords"), ("all", "paraphrase")]
    systems = ["chance", "bm25 on the true text", *["ziprerank"] * 2]
    assert [(row["system"], row["document"], row["kind"]) for row in rows] == [
        (system, *group) for system in systems for group in groups
    ]
    assert [row["recall@1"] for row in rows[:4]] == [0.1] * 4  # of 10 candidates
    for row in rows:
        assert {"processor", "cores", "commit", "onnxruntime", "ziprerank", "limit", "provider"} <= set(row)


def test_every_row_is_compared_with_bm25_and_the_first(rows: list[dict[str, Any]]) -> None:
    for group in {(row["document"], row["kind"]) for row in rows}:
        ours = [row for row in rows if (row["document"], row["kind"]) == group]
        for row, others in zip(ours[1:], ([], ours[1:2], ours[1:3]), strict=True):
            assert [entry["recall@1"] for entry in row["differences"]] == [
                pytest.approx(row["recall@1"] - other["recall@1"]) for other in others
            ]


def test_tables_show_the_rows(out: Path, rows: list[dict[str, Any]]) -> None:
    document = out / "page.md"
    document.write_text(f"before\n{BEGIN}old\n{END}after\n", encoding="utf-8")
    main([str(document), str(out / "rows.jsonl")])
    text = document.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{BEGIN}")
    assert text.endswith(f"{END}after\n")
    assert "old" not in text
    for row in rows:
        assert label(row, rows) in text
        assert f"{row['recall@1']:.3f}" in text
    assert with_tables(text, rows, "rows") == text
    assert "**Recall@1 less BM25's by kind of query.**" in text
    for row in rows:
        assert to_bm25(row) in text


def test_rows_of_which_some_have_no_differences_have_no_table_of_them(rows: list[dict[str, Any]]) -> None:
    older = [dict(row) for row in rows]
    for row in older:
        if (row["document"], row["kind"]) != ("all", "all"):
            row.pop("differences", None)
    assert "less BM25's by" not in with_tables(f"{BEGIN}{END}", older, "rows")


def test_bundles_of_one_name_are_told_apart(rows: list[dict[str, Any]]) -> None:
    other = {**rows[-1], "bundle_id": "0123456789ab"}
    assert label(other, [*rows, other]) != label(rows[-1], [*rows, other])


def test_a_document_without_markers_is_refused(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(SystemExit, match=r"README\.md must hold these two lines once"):
        with_tables("no markers", rows, "rows", "README.md")


def test_only_the_documents_asked_for_are_ranked(tmp_path: Path) -> None:
    other = Query("other.pdf", "no such file", "keywords", 4, CANDIDATES)
    write_queries(tmp_path / "asked.jsonl", [QUERIES[0], other])
    asked = ["--documents", str(SAMPLE), "--queries", str(tmp_path / "asked.jsonl"), "--bundle"]
    run([str(tmp_path / "rows.jsonl"), *asked, "--only", "sample.pdf"])
    assert {row["document"] for row in read(tmp_path / "rows.jsonl")} == {"all", "sample.pdf"}
    with pytest.raises(SystemExit, match=r"--only missing\.pdf: the queries are about other\.pdf, sample\.pdf"):
        run([str(tmp_path / "rows.jsonl"), *asked, "--only", "missing.pdf"])


def test_a_missing_document_stops_before_anything_runs(tmp_path: Path) -> None:
    write_queries(tmp_path / "asked.jsonl", QUERIES)
    with pytest.raises(SystemExit, match=r"holds no sample\.pdf"):
        run([str(tmp_path / "rows.jsonl"), "--documents", str(tmp_path), "--queries", str(tmp_path / "asked.jsonl")])
    assert not (tmp_path / "rows.jsonl").exists()


def test_every_file_of_rows_has_tables_of_its_own(out: Path) -> None:
    begin, end = markers("scans")
    document = out / "page.md"
    document.write_text(f"{BEGIN}{END}{begin}old\n{end}", encoding="utf-8")
    (out / "scans_cpu.jsonl").write_text((out / "rows.jsonl").read_text(encoding="utf-8"), encoding="utf-8")
    main([str(document), str(out / "scans_cpu.jsonl")])
    text = document.read_text(encoding="utf-8")
    assert text.startswith(f"{BEGIN}{END}{begin}\n| system |")
    assert "old" not in text


@pytest.mark.parametrize("name", ["quality", "scans", "rapidocr", "ceilings"])
def test_the_document_shows_the_committed_rows(name: str) -> None:
    root = SAMPLE.parents[1]
    document = root / "docs" / "benchmarks.md"
    text = document.read_text(encoding="utf-8")
    assert with_tables(text, read(root / "bench" / "results" / f"{name}_cpu.jsonl"), name, document.name) == text
