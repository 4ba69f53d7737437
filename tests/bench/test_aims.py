"""Aims are computed from the rows that they name."""

from __future__ import annotations

from typing import Any

import pytest
from ziprerank.comparison.aims import aims, table
from ziprerank.comparison.tables import farthest

OURS = {(20, "file"): 1000.0, (20, "again"): 100.0, (5, "file"): 250.0, (5, "again"): 20.0}
THEIRS = {"transformers_pruned": 4000.0, "autoregressive": 14000.0, "pointwise": 3100.0}


def latency(pages: int, start: str, system: str, total: float, keep: float = 1.0, **more: Any) -> dict[str, Any]:
    return {
        "what": "latency",
        "system": system,
        "precision": "fp32",
        "blank": "drop" if system == "ziprerank" else "keep",
        "keep_ratio": keep,
        "reasoning_tokens": 0,
        "start": start,
        "candidates": pages,
        "longest_side": 1024,
        "total_ms": {"p50": total},
        "stages_ms": {"prune": {"p50": 0.02 * total}, "decoder": {"p50": 0.7 * total}},
        **more,
    }


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    found = []
    for (pages, start), total in OURS.items():
        found += [latency(pages, start, "ziprerank", total, 0.5), latency(pages, start, "ziprerank", 2 * total)]
        found += [latency(pages, start, "ziprerank", 7.0, 0.5, precision="int8")]
        found += [latency(pages, start, "ziprerank", 3 * total, keep, blank="keep") for keep in (0.5, 1.0)]
        found[-1]["stages_ms"]["decoder"]["p50"] *= 2
        for system, slower in THEIRS.items():
            keep = 0.5 if system == "transformers_pruned" else 1.0
            found.append(latency(pages, start, system, slower, keep))
        found.append(latency(pages, start, "autoregressive", 40_000.0, reasoning_tokens=256))
    limit = {"what": "limit", "stage": "prune", "candidates": 20, "longest_side": 1024, "precision": "fp32"}
    limit["blank"] = "drop"
    return [
        *found,
        {**limit, "keep_ratio": 0.5, "share_of_pass": 0.04},
        {**limit, "keep_ratio": 0.25, "share_of_pass": 1},
    ]


def test_each_aim_is_of_the_rows_it_names(rows: list[dict[str, Any]]) -> None:
    found = [(aim.bound, round(aim.reached, 4), aim.met) for aim in aims(rows)]
    assert found == [
        (4.0, 4.0, True),
        (10.0, 40.0, True),
        (15.0, 14.0, False),
        (15.0, 140.0, True),
        (40.0, 40.0, True),
        (40.0, 400.0, True),
        (3.0, 3.1, True),
        (3.0, 31.0, True),
        (1.8, 1.9722, True),  # with all tokens: 1.42 / 0.72
        (0.03, 0.04, False),
        (4.3, 4.0, True),
        (4.3, 5.0, False),
    ]


def test_ziprerank_page_by_page_has_aims_of_its_own(rows: list[dict[str, Any]]) -> None:
    for start, total in (("file", 1000.0), ("again", 400.0)):
        for blank, precision, factor in (("drop", "fp32", 1.0), ("keep", "fp32", 2.0), ("keep", "int8", 3.0)):
            one = latency(20, start, "ziprerank_pointwise", total * factor, precision=precision)
            rows.append({**one, "blank": blank})
    found = [aim for aim in aims(rows) if aim.what.startswith("ziprerank pointwise")]
    assert [(aim.bound, round(aim.reached or 0, 3), aim.met) for aim in found] == [
        (3.0, 3.1, True),
        (3.0, 1.55, False),
        (10.0, 7.75, False),
        (10.0, 3.875, False),
    ]
    assert found[0].what == "ziprerank pointwise, blank dropped against pointwise, first query, from the PDF"


def test_the_table_says_what_was_reached_and_of_what(rows: list[dict[str, Any]]) -> None:
    text = table(rows)
    assert "20 pages of 1024 px" in text
    of = "`total_ms`, file: autoregressive listwise / ziprerank, blank dropped, keep 0.5"
    assert f"at least 15.0x | 14.0x | not met | {of} |" in text
    assert "at most 3 % | 4 % | not met |" in text
    assert "which this run did not measure" in table([row for row in rows if row["candidates"] != 20])


def test_the_stages_farthest_from_the_limit() -> None:
    def limit(
        stage: str, keep_ratio: float | None, fraction: float, precision: str = "fp32", blank: str = "drop"
    ) -> dict[str, Any]:
        row = {"stage": stage, "keep_ratio": keep_ratio, "fraction": fraction}
        return {**row, "precision": precision, "blank": blank}

    rows = [
        limit("vision", None, 0.8),
        limit("prune", 0.5, 0.3),
        limit("decoder", 0.5, 0.6),
        limit("decoder", 0.25, 0.1),
        limit("decoder", 0.5, 0.05, "int8"),
        limit("vision", None, 0.07, blank="keep"),
    ]
    assert [(row["stage"], row["fraction"]) for row in farthest(rows)] == [("prune", 0.3), ("decoder", 0.6)]
