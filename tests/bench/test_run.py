"""``ziprerank bench --quick`` measures every system, all agree, and the report shows the rows; no time is asserted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ziprerank.bundle import default_bundle
from ziprerank.comparison.labels import label
from ziprerank.comparison.tables import STAGES, tables
from ziprerank.export import ExportOptions, export_checkpoint

PAGES, TOKENS_A_PAGE = 2, 121  # the sample's pages are 288 pt squares, 352 px at 88 dpi
BUNDLES = [(precision, blank) for precision in ("fp32", "int8") for blank in ("drop", "keep")]

pytestmark = pytest.mark.slow  # every system once, PyTorch's too; the other files here test them by themselves


@pytest.fixture(scope="module")
def folder(default_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs the command with two bundles of the checkpoint: float32 and 8-bit weights."""
    folder = tmp_path_factory.mktemp("bench")
    int8 = export_checkpoint(str(default_checkpoint), folder / "int8", ExportOptions(precision="int8"))
    single = ExportOptions(prompt="qwen3-vl-reranker")
    page_by_page = export_checkpoint(str(default_checkpoint), folder / "pointwise", single)
    command = [sys.executable, "-m", "ziprerank.cli", "bench", str(folder / "rows.jsonl"), "--quick"]
    for bundle in (default_bundle(), int8, page_by_page):
        command += ["--bundle", str(bundle)]
    command += ["--report", str(folder / "report")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


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
            "provider",
        } <= set(row)


def test_each_system_has_one_row_for_each_start(rows: list[dict[str, Any]]) -> None:
    keys = [
        (row["system"], row["precision"], row["blank"], row["keep_ratio"], row["reasoning_tokens"], row["start"])
        for row in rows
        if row["what"] == "latency"
    ]
    systems = [
        *(("ziprerank", *bundle, keep_ratio, 0) for bundle in BUNDLES for keep_ratio in (1.0, 0.5, 0.25)),
        *(("ziprerank_pointwise", "fp32", blank, 1.0, 0) for blank in ("drop", "keep")),
        ("transformers", "fp32", "keep", 1.0, 0),
        *(("transformers_pruned", "fp32", "keep", keep_ratio, 0) for keep_ratio in (0.5, 0.25)),
        ("pointwise", "fp32", "keep", 1.0, 0),
        *(("autoregressive", "fp32", "keep", 1.0, reasoning) for reasoning in (0, 64, 256)),
    ]
    assert sorted(keys) == sorted((*system, start) for system in systems for start in ("file", "again"))


def test_times_and_tokens(rows: list[dict[str, Any]]) -> None:
    generated = {}
    for row in rows:
        if row["what"] != "latency":
            continue
        assert 0 < row["total_ms"]["p20"] <= row["total_ms"]["p50"] <= row["total_ms"]["p80"]
        assert set(row["stages_ms"]) >= {"pages", "tokenize", "vision", "decoder"}
        assert set(row["stages_ms"]) <= set(STAGES)
        assert ("prune" in row["stages_ms"]) == (row["system"] in ("ziprerank", "transformers_pruned"))
        assert sum(times["p50"] for times in row["stages_ms"].values()) <= 1.01 * row["total_ms"]["p50"]
        assert row["runs"] == 1
        assert row["energy_j"] is None  # of a CPU none is read
        assert row["visual_tokens"] == PAGES * TOKENS_A_PAGE
        if row["blank"] == "keep":
            assert row["kept_tokens"] == PAGES * round(row["keep_ratio"] * TOKENS_A_PAGE)
        else:
            assert row["kept_tokens"] <= PAGES * round(row["keep_ratio"] * TOKENS_A_PAGE)
            assert row["kept_tokens"] < 0.8 * row["visual_tokens"]
        generated[row["system"], row["reasoning_tokens"]] = row["generated_tokens"]
    assert generated["autoregressive", 0] > PAGES
    for reasoning in (64, 256):
        assert generated["autoregressive", reasoning] == generated["autoregressive", 0] + reasoning
    assert not any(count for (system, _), count in generated.items() if system != "autoregressive")


def test_the_pointwise_system_has_the_quickest_batch_tried(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row["what"] == "latency" and row["system"] == "pointwise":
            tried = row["batches_tried_ms"]
            assert set(tried) == {"1", "2"}
            assert tried[str(row["batch"])] == min(tried.values())


def test_the_systems_agree(rows: list[dict[str, Any]]) -> None:
    agreements = [row for row in rows if row["what"] == "agreement" and row["system"] == "ziprerank"]
    assert [(row["keep_ratio"], row["precision"], row["blank"]) for row in agreements] == [
        (keep_ratio, *bundle) for keep_ratio in (1.0, 0.5, 0.25) for bundle in BUNDLES
    ]
    assert set(agreements[0]["max_logit_error"]) == {"transformers", "transformers_pruned", "transformers_forward"}
    for row in agreements:
        if (row["precision"], row["blank"]) == ("fp32", "keep"):
            assert max(row["max_logit_error"].values()) <= row["tolerance"] == 1e-3
            assert row["kendall_tau"] == 1.0
        else:
            assert row["tolerance"] is None
            assert max(row["max_logit_error"].values()) > 1e-6  # other weights or tokens, so other logits
    single = [row for row in rows if row["what"] == "agreement" and row["system"] == "ziprerank_pointwise"]
    assert [(row["precision"], row["blank"], row["tolerance"]) for row in single] == [
        ("fp32", "drop", None),
        ("fp32", "keep", 1e-3),
    ]
    assert set(single[0]["max_log_odds_error"]) == {"pointwise", "transformers_forward"}
    assert max(single[1]["max_log_odds_error"].values()) <= 1e-3 < max(single[0]["max_log_odds_error"].values())


def test_limits_and_memory(rows: list[dict[str, Any]]) -> None:
    (rates,) = (row for row in rows if row["what"] == "machine rates")
    limits = [row for row in rows if row["what"] == "limit"]
    assert [(row["precision"], row["blank"], row["stage"], row["keep_ratio"]) for row in limits] == [
        (*bundle, stage, keep_ratio)
        for bundle in BUNDLES
        for stage, keep_ratio in (
            ("vision", None),
            ("decoder", 1.0),
            ("prune", 0.5),
            ("decoder", 0.5),
            ("prune", 0.25),
            ("decoder", 0.25),
        )
    ]
    for row in limits:
        by_rate = max(row["gflop"] / rates["gemm_gflops"], row["mb"] / 1e3 / rates["copy_gb_s"]) * 1e3
        assert row["limit_ms"] == pytest.approx(by_rate, rel=0.05)
        assert row["fraction"] == pytest.approx(row["limit_ms"] / row["measured_ms"], rel=0.01)
    towers = {row["blank"]: row["gflop"] for row in limits if (row["precision"], row["stage"]) == ("fp32", "vision")}
    assert towers["drop"] < 0.7 * towers["keep"]
    if Path("/proc/self/status").is_file():
        memory = {
            (row["system"], row["precision"], row["blank"]): row["peak_mb"] for row in rows if row["what"] == "memory"
        }
        assert set(memory) == {
            *(("ziprerank", *bundle) for bundle in BUNDLES),
            *(("ziprerank_pointwise", "fp32", blank) for blank in ("drop", "keep")),
            ("transformers", "fp32", "keep"),
        }
        assert 10 < memory["ziprerank", "fp32", "drop"] < memory["transformers", "fp32", "keep"]


def test_tables_show_the_rows(rows: list[dict[str, Any]]) -> None:
    text = tables(rows)
    for row in rows:
        if row["what"] == "latency":
            assert f"| {label(row)} | {row['total_ms']['p50']:,.0f} (" in text


def test_pictures_and_page(rows: list[dict[str, Any]], folder: Path) -> None:
    written = {file.name for file in (folder / "report").iterdir()}
    assert written == {"latency-1024.png", "stages-1024.png", "benchmark.html"}
    page = (folder / "report" / "benchmark.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert not re.search(r"(src|href)=.(?!data:)", page)  # nothing is fetched
    lines = tables(rows).splitlines()
    assert page.count("<tr>") == sum(line.startswith("|") and not line.startswith("|---") for line in lines)
