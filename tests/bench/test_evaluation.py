"""Rows of a report of ``ziprerank eval``, and the table that they make."""

from __future__ import annotations

from typing import Any

import pytest

from bench.evaluation import MEASURES, by_document, joined, rows_of


def group(recall: float) -> dict[str, float]:
    return dict.fromkeys(MEASURES, recall)


def report(name: str, documents: dict[str, float], queries: int, **more: Any) -> dict[str, Any]:
    groups = {document: {**group(recall), "hit@1": recall} for document, recall in documents.items()}
    system = {"name": name, "micro": group(sum(documents.values()) / len(documents)), "groups": groups, **more}
    return {
        "queries": {"judged": queries},
        "settings": {"systems": {name: {"side": 1000}}},
        "machine": {"processor": "a processor", "cores": 2, "onnxruntime": "1.30"},
        "systems": [system],
    }


def test_a_row_has_the_measures_settings_and_times_of_a_system() -> None:
    (row,) = rows_of(report("ocr", {"a.pdf": 0.5, "b.pdf": 1.0}, 20, **{"processor ms a page": 7.0}))
    assert row["system"] == "ocr"
    assert row["queries"] == 20
    assert row["recall@1"] == pytest.approx(0.75)
    assert row["documents"]["a.pdf"] == group(0.5)
    assert row["settings"] == {"side": 1000}
    assert row["processor ms a page"] == 7.0
    assert "ms" not in row
    assert row["cores"] == 2


def test_rows_on_different_documents_are_put_together() -> None:
    rows = [
        *rows_of(report("ours", {"a.pdf": 0.5, "b.pdf": 0.25, "c.pdf": 0.75}, 30)),
        *rows_of(report("ocr", {"a.pdf": 0.5}, 10, **{"ms a page": 90.0, "processor ms a page": 1234.0})),
        *rows_of(report("half", {"a.pdf": 1.0}, 10)),
        *rows_of(report("ocr", {"b.pdf": 1.0, "c.pdf": 0.0}, 40, **{"ms a page": 90.0, "processor ms a page": 2000.0})),
    ]
    lines = by_document(rows).splitlines()
    table = {line.split(" | ")[0].strip("| "): line for line in lines if line.startswith("| ")}
    assert table["ours"] == "| ours | 0.5000 | 0.5000 | 0.5000 | 0.500 | 0.250 | 0.750 |"
    assert table["ocr"] == "| ocr | 0.5000 | 0.5000 | 0.5000 | 0.500 | 1.000 | 0.000 |"
    assert table["half"] == "| half |  |  |  | 1.000 | not measured | not measured |"
    assert [line for line in lines if "to read a page" in line] == [
        "ocr took 1,234 ms of processor time to read a page of a.pdf.",
        "ocr took 2,000 ms of processor time to read a page of b.pdf, c.pdf.",
    ]


def test_a_mean_counts_queries() -> None:
    rows = [
        *rows_of(report("ocr", {"a.pdf": 1.0}, 30)),
        *rows_of(report("ocr", {"b.pdf": 0.0}, 10)),
    ]
    (line,) = (line for line in by_document(rows).splitlines() if line.startswith("| ocr"))
    assert line.split(" | ")[1] == "0.7500"


def test_a_new_row_takes_the_place_of_the_old_one_about_the_same() -> None:
    (old,) = rows_of(report("ocr", {"a.pdf": 0.5}, 10))
    (other,) = rows_of(report("ocr", {"b.pdf": 0.5}, 10))
    (new,) = rows_of(report("ocr", {"a.pdf": 1.0}, 10))
    (more,) = rows_of(report("text", {"a.pdf": 1.0}, 10))
    assert joined([old, other], [new, more]) == [new, other, more]
