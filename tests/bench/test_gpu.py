"""``python -m bench.gpu --dry-run`` runs every path of the GPU measurements on the CPU; no time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ziprerank.kernels.launch import KERNELS

from bench.gpu.__main__ import Sizes, kernels
from bench.gpu.aims import aims
from bench.gpu.budget import Budget
from bench.gpu.device import Device
from bench.gpu.kernels import Counts, Window
from bench.gpu.roofline import Roofline

ROOT = Path(__file__).parents[2]
RATIOS = (1.0, 0.5, 0.25)
PAGES = (2, 1)
TOKENS, HIDDEN = 64, 64  # of a page of 256 px; of the tiny checkpoint
UNKNOWN = "tensorrt-nowhere"

Row = dict[str, Any]

DRY_RUN = pytest.mark.slow  # all that a test with this mark reads comes from one run of the whole bench


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Row], str]:
    out = tmp_path_factory.mktemp("gpu") / "rows.jsonl"
    options = ["--dry-run", "--provider", "cpu", "--provider", UNKNOWN, "--seconds", "10000"]
    command = [sys.executable, "-m", "bench.gpu", str(out), *options]
    done = subprocess.run(command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
    return [json.loads(line) for line in out.read_text().splitlines()], done.stdout


@pytest.fixture(scope="module")
def rows(finished: tuple[list[Row], str]) -> list[Row]:
    return finished[0]


def of(rows: list[Row], what: str) -> list[Row]:
    return [row for row in rows if row["what"] == what]


@DRY_RUN
def test_every_row_says_where_it_was_measured(rows: list[Row]) -> None:
    for row in rows:
        assert {"device", "driver", "cuda", "torch", "triton", "transformers", "onnxruntime", "commit"} <= set(row)
        assert row["tiny"] is True


@DRY_RUN
def test_every_kernel_window_is_measured(rows: list[Row]) -> None:
    found = of(rows, "prune kernels")
    assert [(row["dtype"], row["pages"]) for row in found] == [
        (dtype, pages) for dtype in ("fp32", "bf16", "fp16") for pages in PAGES
    ]
    for row in found:
        assert row["visual_tokens"] == row["pages"] * TOKENS
        assert row["kept_tokens"] == row["pages"] * TOKENS / 2
        assert row["text_tokens"] == 32
        assert row["largest_cosine_error"] <= 1e-4
        assert set(row["launch_ms"]) == set(row["warmup_ms"]) == {kernel.name for kernel in KERNELS}
        for quantile in ("total_ms", "loop_ms", "copy_ms", "product_ms"):
            assert 0 < row[quantile]["p20"] <= row[quantile]["p50"] <= row[quantile]["p80"]
        assert row["over_copy"] == pytest.approx(row["total_ms"]["p50"] / row["copy_ms"]["p50"], rel=0.01)


@DRY_RUN
def test_the_floor_is_the_longer_of_operations_and_bytes(rows: list[Row]) -> None:
    rates = {row["dtype"]: row for row in of(rows, "roofline")}
    for row in of(rows, "prune kernels"):
        rate = rates[row["dtype"]]
        by_operations = 2 * row["visual_tokens"] * 32 * HIDDEN / (rate["gemm_tflops"] * 1e12)
        by_bytes = sum(row["bytes"].values()) / (rate["copy_gb_s"] * 1e9)
        assert row["floor_ms"] == pytest.approx(max(by_operations, by_bytes) * 1e3, rel=0.01)
    assert Roofline("bf16", gemm=1e9, copy=1e6).floor_ms(operations=2e9, moved=1e6) == 2000
    assert Roofline("bf16", gemm=1e9, copy=1e6).floor_ms(operations=2e9, moved=3e6) == 3000


def test_bytes_and_operations_of_a_small_window_by_hand() -> None:
    counts = Counts(visual=3, text=2, hidden=4, pages=1, kept=2, element=2)
    assert counts.operations == 3 * 2 * 4 * 2  # a multiplication and an addition each
    assert counts.bytes == {"text_scales": 38, "relevance_scores": 96, "select_kept": 56}


def test_bytes_are_those_of_the_kernels_arguments() -> None:
    """Counts the launch table's arguments at a window's sizes; of the pool, the kernels read level 0 only."""
    window = Window.random(Device("cpu"), "bf16", pages=3, tokens=40, hidden=16)
    sizes = {"T": 32, "H": 16, "N": 120, "K": 3, "M": 60, "K + 1": 4, "1": 1}
    widths = {"*T": 2, "*u8": 1, "*i32": 4, "*fp32": 4, "*i64": 8}
    assert window.pool.itemsize == widths["*T"]
    for kernel in KERNELS:
        moved = 0
        for argument in kernel.arguments:
            shape = "[N, H]" if argument.name == "pool" else argument.shape
            shape = "[M]" if argument.name == "kept" else shape
            if argument.type.startswith("*"):
                moved += widths[argument.type] * int(
                    torch.tensor([sizes[size] for size in shape.strip("[]").split(", ")]).prod()
                )
        assert window.counts.bytes[kernel.name] == moved


def test_a_windows_rows_are_whole_blocks_each_once() -> None:
    window = Window.random(Device("cpu"), "fp32", pages=2, tokens=80, hidden=8)
    assert len(window.rows.unique()) == 160
    blocks = window.rows.view(-1, 32)
    assert torch.equal(blocks - blocks[:, :1], torch.arange(32).expand(5, 32))


@DRY_RUN
def test_both_systems_at_every_keep_ratio_and_start(rows: list[Row]) -> None:
    found = of(rows, "latency")
    assert sorted((row["system"], row["provider"], row["pages"], row["keep_ratio"], row["start"]) for row in found) == (
        sorted(
            (system, "cpu", pages, ratio, start)
            for system in ("ziprerank", "transformers")
            for pages in PAGES
            for ratio in RATIOS
            for start in ("first", "cached")
        )
    )
    for row in found:
        assert row["runs"] >= 3
        assert row["visual_tokens"] == row["pages"] * TOKENS
        assert row["kept_tokens"] == row["pages"] * round(row["keep_ratio"] * TOKENS)
        assert 0 < row["total_ms"]["p20"] <= row["total_ms"]["p50"] <= row["total_ms"]["p80"]
        assert row["warmup_ms"] > 0
        pruned = row["system"] == "transformers" and row["keep_ratio"] < 1
        assert ("prune" in row["stages_ms"]) == pruned
        assert {"pages", "vision", "decoder"} <= set(row["stages_ms"])
        assert set(row["floor_ms"]) == {"vision", "decoder"}


@DRY_RUN
def test_the_systems_agree_on_the_same_weights(rows: list[Row]) -> None:
    found = of(rows, "agreement")
    assert [(row["pages"], row["keep_ratio"]) for row in found] == [
        (pages, ratio) for pages in PAGES for ratio in RATIOS
    ]
    assert all(row["agrees"] and row["max_logit_error"] <= 1e-3 for row in found)


@DRY_RUN
def test_what_cannot_run_says_why(finished: tuple[list[Row], str]) -> None:
    (row,) = of(finished[0], "not run")
    assert row["section"] == f"engine on {UNKNOWN}"
    assert UNKNOWN in row["reason"]
    assert f"not run: engine on {UNKNOWN}" in finished[1]


@DRY_RUN
def test_aims_are_quotients_of_the_rows(finished: tuple[list[Row], str]) -> None:
    rows, shown = finished

    def median(system: str, ratio: float, start: str, stage: str | None = None) -> float:
        (row,) = (
            row
            for row in of(rows, "latency")
            if (row["system"], row["keep_ratio"], row["start"], row["pages"]) == (system, ratio, start, 2)
        )
        return float((row["stages_ms"][stage] if stage else row["total_ms"])["p50"])

    written = [row for row in of(rows, "aim") if row["provider"] == "cpu"]
    reached = [row["reached"] for row in written]
    assert reached[1] == median("ziprerank", 1.0, "cached", "decoder") / median("ziprerank", 0.5, "cached", "decoder")
    assert reached[4] == median("transformers", 0.5, "first") / median("ziprerank", 0.5, "first")
    assert reached[5] == median("transformers", 0.5, "cached") / median("ziprerank", 0.5, "cached")
    for row in written:
        met = row["reached"] >= row["at_least"] if "at_least" in row else row["reached"] <= row["at_most"]
        assert row["met"] == met
        assert row["aim"] in shown
    unknown = [row for row in of(rows, "aim") if row["provider"] == UNKNOWN]
    assert [row["met"] for row in unknown[1:]] == [None] * 5
    assert shown.count("not measured") == 5


def test_an_aim_on_its_bound_is_met() -> None:
    kernel = {"what": "prune kernels", "dtype": "bf16", "pages": 20, "over_copy": 1.25}
    assert aims([kernel], "cuda", "bf16")[0].met is True
    assert aims([{**kernel, "over_copy": 1.26}], "cuda", "bf16")[0].met is False
    assert replace(aims([], "cuda", "bf16")[1], reached=2.0).met is True
    assert replace(aims([], "cuda", "bf16")[1], reached=1.99).met is False


def test_sections_that_do_not_fit_are_named() -> None:
    found = list(kernels(Device("cpu"), Roofline("fp32", 1.0, 1.0), Budget(-1.0), Sizes.tiny()))
    assert [row["what"] for row in found] == ["roofline", "not run", "not run"]
    assert [row["section"] for row in found[1:]] == ["kernels, fp32, 2 pages", "kernels, fp32, 1 pages"]
    budget = Budget(100.0)
    assert budget.fits("rankings", 20)
    budget.spent("rankings", weight=20, seconds=1000.0)
    assert not budget.fits("rankings", 5)
    assert budget.fits("rankings", 1)
    assert budget.fits("kernels", 20)
    with budget.paused():
        pass
    assert budget.left <= 100.0


def test_what_nvidia_smi_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads a program in nvidia-smi's format, quotes one that fails, and says when there is none."""
    device = Device("cpu")
    assert device.clocks() == "not read: no GPU"
    device.cuda = True
    monkeypatch.setenv("PATH", str(tmp_path))
    assert device.clocks() == "not read: no nvidia-smi"
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "1980, 2619, 1980, 41, 112.50"\n')
    program.chmod(0o755)
    assert device.clocks() == {
        "clocks.sm": "1980",
        "clocks.mem": "2619",
        "clocks.max.sm": "1980",
        "temperature.gpu": "41",
        "power.draw": "112.50",
    }
    program.write_text('#!/bin/sh\necho "No devices were found"\nexit 6\n')
    assert device.clocks() == "not read: No devices were found"
