"""``python -m bench.gpu.memory``: what it counts, and what its tables say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine_helpers import ROOT
from ziprerank.bundle import Bundle

from bench.gpu.document import PAGE, read_rows, with_section
from bench.gpu.memory import BEGIN, END, KEEP_RATIOS, ROWS, holds, measure, table
from hollow import HollowGpu

PAGES = (1, 3)
GB = 10**9

Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows(hollow_gpu: HollowGpu, bundles: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    bundle = Bundle.load(bundles("bf16"))
    return list(measure(hollow_gpu, bundle, (288, 288), PAGES, tmp_path_factory.mktemp("memory")))


def test_each_ranking_starts_from_the_loaded_bundle_and_the_next_takes_no_more(rows: list[Row]) -> None:
    found = [row for row in rows if row["what"] == "memory"]
    assert [(row["pages"], row["keep_ratio"]) for row in found] == [(n, keep) for n in PAGES for keep in KEEP_RATIOS]
    assert len({row["loaded"] for row in found}) == 1
    for row in found:
        assert row["loaded"] > 1 << 30  # the pool
        assert row["next"] == row["left"] == row["first"] > row["loaded"]
        assert row["pinned"] > 0


def test_all_in_turn_take_no_less_than_the_largest_alone(rows: list[Row]) -> None:
    largest = max(row["first"] for row in rows if row["what"] == "memory")
    turns = {row["order"]: row for row in rows if row["what"] == "memory in turn"}
    assert turns["rising"]["peak"] >= turns["falling"]["peak"] >= largest
    assert all(row["left"] == row["peak"] for row in turns.values())  # the arena gives nothing back


def test_a_card_holds_what_leaves_a_gigabyte() -> None:
    def row(pages: int, keep: float, first: int, after: int) -> Row:
        return {"what": "memory", "pages": pages, "keep_ratio": keep, "first": first, "next": after, "loaded": 10 * GB}

    rows = [row(1, 0.5, 10 * GB, 11 * GB), row(1, 1, 11 * GB, 11 * GB), row(9, 0.5, 15 * GB, 5), row(9, 1, 20 * GB, 5)]
    rows += [{"what": "memory in turn", "order": order, "peak": peak * GB} for order, peak in (("a", 20), ("b", 23))]
    assert holds(rows, 11) == "no"
    assert holds(rows, 12) == "1 page, keep 1"
    assert holds(rows, 16) == "9 pages, keep 0.5"
    assert holds(rows, 21) == "all, the largest first"
    assert holds(rows, 24) == "all, in any order"


def test_the_page_shows_the_committed_rows() -> None:
    rows = read_rows(ROWS)
    assert {row["precision"] for row in rows} == {"bf16", "int8", "int4"}
    text = PAGE.read_text(encoding="utf-8")
    assert with_section(text, BEGIN, END, table(rows)) == text


@pytest.mark.slow
@pytest.mark.usefixtures("hollow_gpu")
def test_the_command_measures_small_shapes(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    command = [sys.executable, "-m", "bench.gpu.memory", str(out), "--tiny", "--precision", "int4"]
    done = subprocess.run(command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
    assert "| int4 |" in done.stdout
    assert {row["precision"] for row in map(json.loads, out.read_text().splitlines())} == {"int4"}
