"""Whole documents: what each system is measured on, and rows without times of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pdf_files import words_pdf
from small_bundle import copy_default_bundle
from ziprerank.reranker import Reranker

from bench.long_report import strategies
from bench.quality import whole
from bench.quality.queries import Query
from bench.report import read

PAGES = 26


@pytest.fixture(scope="module")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("manual") / "manual.pdf"
    file.write_bytes(words_pdf((f"about subject{page} and nothing else" for page in range(PAGES)), (200, 260)))
    return file


def asked(page: int) -> Query:
    return Query("manual.pdf", f"subject{page}", "title", page, tuple(range(max(0, page - 19), max(0, page - 19) + 20)))


def test_each_system_ranks_the_document(manual: Path, tmp_path: Path) -> None:
    queries = [asked(22), asked(3)]
    bundle = copy_default_bundle(tmp_path / "small", 192, min_pixels=1024, dpi=None)
    with Reranker.from_bundle(bundle, threads=1) as reranker:
        found = {system: whole.measured(system, reranker, manual, queries) for system in whole.SYSTEMS}
        plain = reranker.rank("subject22", manual, 5, first_stage="none", strategy="windows")
    passes = {system: one.passes for system, one in found.items()}
    assert passes == {
        "twenty": [1, 1],
        "bm25": [0, 0],
        "late": [0, 0],
        "text": [1, 1],
        "relevance": [1, 1],
        "partition": [2, 2],
        "windows": [2, 2],
        "backwards": [2, 2],
    }
    assert found["bm25"].ranks == [1, 1]
    order = [page.index for page in plain]
    assert found["windows"].ranks[0] == (order.index(22) + 1 if 22 in order else None)
    described = {system: whole.described(one) for system, one in found.items()}
    assert all("ms" not in json.dumps(row) for row in described.values())
    assert {system for system, row in described.items() if "first" in row and "next" in row} == set(whole.TIMED)


def test_a_row_counts_what_is_shown_and_compares_times() -> None:
    found = whole.Found(50, [1, None, 5, 6], [3, 3, 4, 6], [80.0, 30.0, 20.0, 90.0], [40.0, 10.0, 20.0, 10.0])
    assert whole.described(found) == {
        "n": 4,
        "pages": 50,
        "recall@1": 0.25,
        "recall@5": 0.5,
        "recall@20": 0.75,
        "passes": 4.0,
        "first": 2.0,
        "next": 3.0,
    }
    assert "next" not in whole.described(whole.Found(50, [1], [1], [80.0], [40.0]))


def test_the_agreement_is_of_first_pages() -> None:
    def best(*pages: int) -> whole.Found:
        return whole.Found(50, best=list(pages))

    found = {"windows": best(1, 2, 3, 4), "backwards": best(1, 2, 9, 9), "partition": best(1, 7, 3, 8)}
    assert whole.agreement(found) == {
        "n": 4,
        "same_first_page": 2,
        "consistent": 2,
        "same_first_page_where_consistent": 1,
    }


def test_a_row_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    for row in (("text", "a", 1), ("text", "b", 2), ("windows", "a", 3), ("text", "a", 4)):
        whole.add(out, dict(zip(("system", "document", "n"), row, strict=True)))
    rows = [tuple(json.loads(line).values()) for line in out.read_text().splitlines()]
    assert rows == [("text", "b", 2), ("windows", "a", 3), ("text", "a", 4)]


def test_rows_say_which_bundle_ranked(manual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "read_queries", lambda _: [asked(22), asked(3)])
    monkeypatch.setattr(whole, "located", lambda folder, name: folder / name)
    bundle = copy_default_bundle(tmp_path / "small", 192, min_pixels=1024, dpi=None)
    given = [str(tmp_path / "rows.jsonl"), "--documents", str(manual.parent), "--bundle", str(bundle), "--threads", "1"]
    systems = ["bm25", "text", "partition", "windows", "backwards"]
    whole.main([*given, "--systems", *systems])
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    named = json.loads((bundle / "ziprerank.json").read_text())["bundle_id"][:12]
    assert {row["system"]: row["bundle_id"] for row in rows} == {
        "bm25": None,
        **dict.fromkeys([*systems[1:], "agreement"], named),
    }


def measured_rows(system: str, **more: Any) -> list[dict[str, Any]]:
    """Rows of a system about all manuals."""
    known = [row for row in read("whole_cpu.jsonl") if row["system"] == "bm25"]
    return [{**row, "system": system, "sample": None, **more} for row in known]


def test_rows_of_two_bundles_are_not_added_up() -> None:
    words, old, new = measured_rows("bm25"), measured_rows("text", bundle_id="a" * 12), measured_rows("windows")
    unnamed = [{name: value for name, value in row.items() if name != "bundle_id"} for row in new]
    for other in (unnamed, measured_rows("windows", bundle_id="b" * 12), [*old[:1], *unnamed[1:]]):
        with pytest.raises(
            ValueError, match=r"rows of 2 bundles, at most 1 .* of aaaaaaaaaaaa.*measure the others again"
        ):
            strategies([*words, *old, *other])
    for bm25 in (words, measured_rows("bm25", bundle_id="b" * 12), measured_rows("bm25", bundle_id=None)):
        assert "windows over all pages" in strategies([*bm25, *old, *measured_rows("windows", bundle_id="a" * 12)])
    assert "windows over all pages" in strategies([*words, *unnamed])
    agreeing = {"same_first_page": 1, "consistent": 1, "same_first_page_where_consistent": 1}
    with pytest.raises(ValueError, match="rows of 2 bundles"):
        strategies([*words, *old, *measured_rows("agreement", bundle_id="b" * 12, **agreeing)])


def test_a_sample_is_of_every_document_and_always_the_same() -> None:
    queries = [Query(name, f"{name} {page}", "title", page, (page,)) for name in ("a", "b") for page in range(30)]
    drawn = whole.sampled(queries, 4)
    assert [query.document for query in drawn] == ["a"] * 4 + ["b"] * 4
    assert drawn == whole.sampled(queries, 4)
    assert [query.page for query in drawn[:4]] == sorted(query.page for query in drawn[:4])
    assert whole.sampled(queries, None) == queries


def test_a_cell_says_of_how_many_queries_it_is_where_not_of_all() -> None:
    known = [row for row in read("whole_cpu.jsonl") if row["system"] == "bm25"]
    rows = [{**row, "system": system, "sample": None} for system in ("bm25", "windows") for row in known]

    def shown() -> tuple[list[str], bool]:
        lines = strategies(rows).splitlines()
        (line,) = (line for line in lines if line.startswith("| windows"))
        return line.strip("| ").split(" | "), any("fixed seed" in line for line in lines)

    cells, told = shown()
    assert not told
    assert not any(" of " in cell for cell in cells[1:])
    assert cells[len(known) + 1][0].isdecimal()  # over all manuals
    rows[-1] |= {"n": 8, "sample": 8, "recall@1": 0.25, "recall@5": 0.875}
    fewer, told = shown()
    assert told
    assert (fewer[len(known)], fewer[len(known) + 1]) == ("25 / 88 of 8", "not measured")
    assert fewer[: len(known)] == cells[: len(known)]
