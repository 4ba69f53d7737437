"""``python -m bench --quick``: every system appears, all agree, ratios follow from the rows. No time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.comparison import tables
from bench.ratios import label, ratios

ROOT = Path(__file__).parents[2]
PAGES, TOKENS_A_PAGE = 2, 81  # the sample's pages are 288 px squares
STAGES = {"pages", "tokenize", "vision", "decoder"}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("bench") / "rows.jsonl"
    command = [sys.executable, "-m", "bench", str(out), "--quick"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_every_row_says_where_it_was_measured(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert {
            "processor",
            "cores",
            "commit",
            "onnxruntime",
            "torch",
            "transformers",
            "document",
            "checkpoint",
        } <= set(row)


def test_each_system_has_one_row_for_each_start(rows: list[dict[str, Any]]) -> None:
    keys = [
        (row["system"], row["keep_ratio"], row["reasoning_tokens"], row["start"])
        for row in rows
        if row["what"] == "latency"
    ]
    systems = [
        *(("ziprerank", keep_ratio, 0) for keep_ratio in (1.0, 0.5, 0.25)),
        ("transformers", 1.0, 0),
        *(("transformers_pruned", keep_ratio, 0) for keep_ratio in (0.5, 0.25)),
        ("pointwise", 1.0, 0),
        *(("autoregressive", 1.0, reasoning) for reasoning in (0, 64, 256)),
    ]
    assert sorted(keys) == sorted((*system, start) for system in systems for start in ("file", "again"))


def test_times_and_tokens(rows: list[dict[str, Any]]) -> None:
    generated = {}
    for row in rows:
        if row["what"] != "latency":
            continue
        assert 0 < row["total_ms"]["p20"] <= row["total_ms"]["p50"] <= row["total_ms"]["p80"]
        assert set(row["stages_ms"]) >= STAGES
        assert row["visual_tokens"] == PAGES * TOKENS_A_PAGE
        assert row["kept_tokens"] == PAGES * round(row["keep_ratio"] * TOKENS_A_PAGE)
        generated[row["system"], row["reasoning_tokens"]] = row["generated_tokens"]
    assert generated["autoregressive", 0] > PAGES
    for reasoning in (64, 256):
        assert generated["autoregressive", reasoning] == generated["autoregressive", 0] + reasoning
    assert not any(count for (system, _), count in generated.items() if system != "autoregressive")


def test_the_systems_agree(rows: list[dict[str, Any]]) -> None:
    agreements = [row for row in rows if row["what"] == "agreement"]
    assert [row["keep_ratio"] for row in agreements] == [1.0, 0.5, 0.25]
    assert set(agreements[0]["max_logit_error"]) == {"transformers", "transformers_pruned", "transformers_forward"}
    for row in agreements:
        assert max(row["max_logit_error"].values()) <= row["tolerance"] == 1e-3


def test_ratios_are_quotients_of_the_rows(rows: list[dict[str, Any]]) -> None:
    def median(system: str, keep_ratio: float, start: str) -> float:
        (row,) = (
            row
            for row in rows
            if row["what"] == "latency"
            and (row["system"], row["keep_ratio"], row["start"], row["reasoning_tokens"])
            == (system, keep_ratio, start, 0)
        )
        return row["total_ms"]["p50"]

    found = {row.against: row for row in ratios(rows)}
    assert len(found) == 9
    pruned = found["transformers, paper's pruning, keep 0.5"]
    for start, ratio in (("file", pruned.file), ("again", pruned.again)):
        assert ratio == median("transformers_pruned", 0.5, start) / median("ziprerank", 0.5, start)


def test_limits_and_memory(rows: list[dict[str, Any]]) -> None:
    (rates,) = (row for row in rows if row["what"] == "machine rates")
    limits = [row for row in rows if row["what"] == "limit"]
    assert [(row["stage"], row["keep_ratio"]) for row in limits] == [
        ("vision", None),
        ("prune", 0.5),
        ("decoder", 1.0),
        ("decoder", 0.5),
        ("decoder", 0.25),
    ]
    for row in limits:
        by_rate = max(row["gflop"] / rates["gemm_gflops"], row["mb"] / 1e3 / rates["copy_gb_s"]) * 1e3
        assert row["limit_ms"] == pytest.approx(by_rate, rel=0.05)
        assert row["fraction"] == pytest.approx(row["limit_ms"] / row["measured_ms"], rel=0.01)
    if Path("/proc/self/status").is_file():
        memory = {row["system"]: row["peak_mb"] for row in rows if row["what"] == "memory"}
        assert 10 < memory["ziprerank"] < memory["transformers"]


def test_tables_show_the_rows(rows: list[dict[str, Any]]) -> None:
    text = tables(rows)
    for row in rows:
        if row["what"] == "latency":
            assert f"| {label(row)} | {row['total_ms']['p50']:,.0f} (" in text


def test_pictures_and_page(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    subprocess.run([sys.executable, "-m", "bench.plots", source, tmp_path / "out"], cwd=ROOT, check=True)
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "latency-288.png",
        "stages-288.png",
        "benchmark.html",
    }
    page = (tmp_path / "out" / "benchmark.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    lines = tables(rows).splitlines()
    assert page.count("<tr>") == sum(line.startswith("|") and not line.startswith("|---") for line in lines)
