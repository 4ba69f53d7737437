"""``python -m bench.gpu --count``: its counts are those of the shapes, worked out by hand."""

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

from bench.gpu.count import KEEP_RATIOS, UNPACKED, count
from bench.gpu.prediction import Rates
from hollow import HollowGpu

SIDE, PAGES = 288, (1, 2)
PATCHES, TOKENS = (SIDE // 16) ** 2, (SIDE // 32) ** 2

Row = dict[str, Any]


@pytest.fixture(scope="module")
def bundle(bundles: Callable[[str], Path]) -> Bundle:
    return Bundle.load(bundles("bf16"))


@pytest.fixture(scope="module")
def rows(hollow_gpu: HollowGpu, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    folder = tmp_path_factory.mktemp("count")
    return list(count(hollow_gpu, bundle, (SIDE, SIDE), PAGES, Rates(), folder))


def of(rows: list[Row], stage: str) -> list[Row]:
    return [row for row in rows if row["stage"] == stage]


def test_there_is_a_row_for_each_stage_of_each_ranking(rows: list[Row]) -> None:
    assert [(row["pages"], row["keep_ratio"]) for row in of(rows, "vision")] == [(pages, None) for pages in PAGES]
    expected = [(pages, keep) for pages in PAGES for keep in KEEP_RATIOS]
    for stage in ("prune", "decoder"):
        found = of(rows, stage)
        assert [(row["pages"], row["keep_ratio"]) for row in found] == expected
        assert all(row["visual_tokens"] == row["pages"] * TOKENS for row in found)
        assert len({(row["pages"], row["kept_tokens"]) for row in found}) == len(expected)


def test_the_tower_counts_page_by_page(rows: list[Row], bundle: Bundle) -> None:
    one, two = of(rows, "vision")
    depth, width = bundle.model["vision"]["depth"], bundle.model["vision"]["hidden_size"]
    assert one["attention_tflop"] == pytest.approx(4e-12 * depth * PATCHES**2 * width, rel=1e-3)
    for name in ("launches", "gemm_tflop", "attention_tflop", "other_gb"):
        assert two[name] == pytest.approx(2 * one[name], rel=1e-3)
    fused = one["other"]["SkipLayerNormalization"]  # reads two tensors, writes two
    assert fused["nodes"] == 2 * depth
    assert fused["gb"] == pytest.approx(1e-9 * fused["nodes"] * 4 * 2 * PATCHES * width, rel=0.02)


def test_the_decoders_attention_is_causal_and_its_last_layer_reads_one_row(rows: list[Row], bundle: Bundle) -> None:
    layers, width = bundle.model["decoder"]["layers"], 4 * 128  # heads
    for row in of(rows, "decoder"):
        tokens = row["text_tokens"] + row["kept_tokens"]
        assert row["attention_tflop"] == pytest.approx(2e-12 * (layers - 1) * tokens**2 * width, rel=1e-3)


def test_products_grow_with_the_tokens_and_launches_do_not(rows: list[Row]) -> None:
    whole, half, quarter = of(rows, "decoder")[-3:]
    assert whole["gemm_tflop"] > half["gemm_tflop"] > quarter["gemm_tflop"] > 0
    assert whole["other_gb"] > half["other_gb"] > quarter["other_gb"] > 0
    tokens = [row["text_tokens"] + row["kept_tokens"] for row in (whole, half, quarter)]
    steps = [(a["gemm_tflop"] - b["gemm_tflop"]) / (x - y) for a, b, x, y in (
        (whole, half, tokens[0], tokens[1]), (half, quarter, tokens[1], tokens[2]),
    )]  # fmt: skip
    assert steps[0] == pytest.approx(steps[1], rel=1e-2)  # all rows of a layer cost the same
    assert abs(whole["launches"] - quarter["launches"]) <= 4  # cuBLAS may split a product


def test_pruning_is_three_launches(rows: list[Row]) -> None:
    for row in of(rows, "prune"):
        assert row["launches"] == 3
        assert set(row["other"]) == {"text_scales", "relevance_scores", "select_kept"}
        assert row["other_gb"] > 2e-9 * row["visual_tokens"] * row["model"]["hidden_size"]  # their rows in bfloat16


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_packed_weights_are_unpacked_in_front_of_each_product(
    hollow_gpu: HollowGpu, bundles: Callable[[str], Path], tmp_path: Path, precision: str
) -> None:
    """But for the last layer's one row, of which only keys and values are of all rows."""
    bundle = Bundle.load(bundles(precision))
    (tower, _, decoder, *_) = count(hollow_gpu, bundle, (SIDE, SIDE), (1,), Rates(), tmp_path)
    model = bundle.model["decoder"]
    hidden, layers, inner = bundle.model["hidden_size"], model["layers"], model["intermediate_size"]
    queries, keys = (model[name] * model["head_dim"] for name in ("heads", "kv_heads"))
    bits, block = {"int8": (8, 128), "int4": (4, 32)}[precision]
    whole = hidden * (2 * queries + 2 * keys + 3 * inner)
    weights = (layers - 1) * whole + hidden * 2 * keys
    assert decoder["precision"] == precision
    assert decoder["other"][UNPACKED]["nodes"] == 7 * (layers - 1) + 2
    assert decoder["other"][UNPACKED]["gb"] == pytest.approx(1e-9 * weights * (2 + bits / 8 + 2 / block), rel=1e-3)
    assert decoder["other"]["MatMulNBits of one row"]["nodes"] == 5
    assert UNPACKED not in tower["other"]


@pytest.mark.slow
@pytest.mark.usefixtures("hollow_gpu")
def test_the_command_counts_small_shapes(bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    options = ["--count", "--tiny", "--bundle", str(bundle.path), "--tflops", "100"]
    command = [sys.executable, "-m", "bench.gpu", str(out), *options]
    done = subprocess.run(command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
    assert "every time is predicted, at 100 TFLOP/s" in done.stdout
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["rates"]["tflops"] for row in found} == {100.0}
    assert {row["pages"] for row in found} == {1, 2}
