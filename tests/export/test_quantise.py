"""Quantised weights: codes against ONNX Runtime's quantiser, one layer against numpy and PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as runtime
from safetensors.numpy import save_file
from ziprerank.export.attention import CpuAttention
from ziprerank.export.checkpoint import PACKED_DTYPES, Tensors, read_shard
from ziprerank.export.linear import BlockWeights, DynamicInt8, Fp8
from ziprerank.export.lowering import Lowering, ModelBuilder
from ziprerank.export.quantise import quantise_blocks, quantise_e4m3, quantise_rows

FLOAT = ir.DataType.FLOAT
OUTPUTS, INPUTS, ROWS = 40, 96, 7
RNG = np.random.default_rng(0)
WEIGHT = RNG.standard_normal((OUTPUTS, INPUTS)).astype(np.float32)
WEIGHT[3] = 0  # an output that reads nothing
WEIGHT[5, 8] = 50  # and one with an outlier
X = RNG.standard_normal((ROWS, INPUTS)).astype(np.float32)
X[2] *= 1000  # a token much larger than the others
X[4] = 0
BIAS = RNG.standard_normal(OUTPUTS).astype(np.float32)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("block", [16, 32, 64])  # the last does not divide the inputs
def test_blocks_are_those_of_onnx_runtimes_quantiser(bits: int, block: int) -> None:
    codes, scales = quantise_blocks(WEIGHT, bits, block, np.float32)
    blocks = -(-INPUTS // block)
    expected = np.zeros((OUTPUTS, blocks, block * bits // 8), np.uint8)
    expected_scales = np.zeros(OUTPUTS * blocks, np.float32)
    unused = np.zeros(OUTPUTS * -(-blocks * bits // 8), np.uint8)
    quantiser = {4: runtime.quantize_matmul_4bits, 8: runtime.quantize_matmul_8bits}[bits]
    quantiser(expected, np.ascontiguousarray(WEIGHT.T), expected_scales, unused, block, OUTPUTS, INPUTS, True)
    np.testing.assert_allclose(scales.ravel(), expected_scales, rtol=1e-6)
    ours, theirs = unpacked(codes, bits), unpacked(expected, bits)
    real = np.arange(blocks * block).reshape(blocks, block) < INPUTS  # what the filling is called is nobody's concern
    steps = np.abs(ours.astype(int) - theirs)[:, real]
    assert steps.max() <= 1
    assert (steps > 0).mean() < 1e-3  # codes on the border between two steps


@pytest.mark.parametrize("bits", [4, 8])
def test_blocks_are_off_by_half_a_step(bits: int) -> None:
    codes, scales = quantise_blocks(WEIGHT, bits, 32, np.float32)
    error = np.abs(from_blocks(codes, scales, bits) - WEIGHT).reshape(OUTPUTS, -1, 32)
    steps = error / np.maximum(np.abs(scales), 1e-12)[:, :, None]
    ours = unpacked(codes, bits)
    # the end of the range with one step less is cut by at most one
    assert steps[ours < 2**bits - 1].max() <= 0.5 + 1e-5
    assert steps.max() <= 1 + 1e-5
    assert error[3].max() == 0


def test_rows_and_floats_are_as_near_as_their_steps_allow() -> None:
    codes, scales = quantise_rows(WEIGHT, 63)
    assert (np.abs(codes).max(axis=1) == np.where(WEIGHT.any(axis=1), 63, 0)).all()  # every output fills its range
    assert (np.abs(codes * scales[:, None] - WEIGHT) <= scales[:, None] * 0.5001).all()
    floats, scales = quantise_e4m3(WEIGHT, np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = WEIGHT / scales[:, None]
    expected = torch.from_numpy(np.nan_to_num(ratio)).to(torch.float8_e4m3fn).float().numpy()
    assert np.array_equal(floats.astype(np.float32), expected)
    assert np.abs(expected).max() == 448


def test_scales_in_half_precision_are_what_is_divided_by() -> None:
    """Scales are rounded before use: rounded afterwards, they would put codes off by more than half a step."""
    bf16 = ir.DataType.BFLOAT16.numpy()
    codes, scales = quantise_blocks(WEIGHT, 8, 32, bf16)
    assert scales.dtype == bf16
    steps = np.abs(from_blocks(codes, scales.astype(np.float32), 8) - WEIGHT).reshape(OUTPUTS, -1, 32)
    inner = (unpacked(codes, 8) > 1) & (unpacked(codes, 8) < 254)
    assert (steps / np.maximum(np.abs(scales.astype(np.float32)), 1e-12)[:, :, None])[inner].max() <= 0.5 + 1e-4


@pytest.mark.parametrize(("bits", "block"), [(4, 32), (8, 32), (8, 128)])
def test_a_layer_of_blocks(bits: int, block: int, tmp_path: Path) -> None:
    lowering = BlockWeights(bits, block, FLOAT)
    codes, scales = lowering.pack("layer", WEIGHT).values()
    expected = X @ from_blocks(codes, scales, bits).T + BIAS
    np.testing.assert_allclose(run_layer(lowering, tmp_path), expected, atol=1e-5 * np.abs(expected).max())


def test_a_dynamic_layer_has_a_scale_for_every_row(tmp_path: Path) -> None:
    lowering = DynamicInt8()
    codes, scales = lowering.pack("layer", WEIGHT).values()
    weight = codes.T * scales[:, None]
    row_scales = np.abs(X).max(axis=1, keepdims=True) / 127
    rounded = np.rint(np.divide(X, row_scales, out=np.zeros_like(X), where=row_scales > 0)) * row_scales
    actual = run_layer(lowering, tmp_path)
    # codes that lie on a border may be rounded either way: one step of one input
    allowed = row_scales * np.abs(weight).max() * 2 + 1e-5
    assert (np.abs(actual - (rounded @ weight.T + BIAS)) <= allowed).all()
    # the bound that says what precision is lost at all: half a step of every input, the weights' own half step beside
    half_steps = row_scales / 2 * np.abs(weight).sum(axis=1) + np.abs(X).sum(axis=1, keepdims=True) * scales / 2
    assert (np.abs(actual - (X @ WEIGHT.T + BIAS)) <= half_steps * 1.001 + 1e-5).all()
    np.testing.assert_allclose(actual[4], BIAS, atol=1e-6)


def test_an_fp8_layer_is_pytorchs_fp8(tmp_path: Path) -> None:
    largest = float(np.abs(X[:2]).max())  # of calmer rows than some that come: those are cut
    lowering = Fp8(FLOAT, {"layer": largest})
    codes, scales = lowering.pack("layer", WEIGHT).values()
    scale = np.float32(largest / 448)
    cut = torch.from_numpy((X / scale).clip(-448, 448)).to(torch.float8_e4m3fn).float().numpy() * scale
    expected = cut @ (codes.astype(np.float32) * scales[:, None]).T + BIAS
    np.testing.assert_allclose(run_layer(lowering, tmp_path), expected, atol=1e-5 * np.abs(expected).max())


def run_layer(linear: BlockWeights | DynamicInt8 | Fp8, folder: Path) -> np.ndarray:
    """Runs ``X`` through one layer of ``WEIGHT`` and ``BIAS``, a graph with its weights in safetensors."""
    save_file({**linear.pack("layer", WEIGHT), "layer.bias": BIAS}, folder / "weights.safetensors")
    tensors = Tensors(None, read_shard(folder / "weights.safetensors", PACKED_DTYPES), "test")
    op = ModelBuilder(tensors, Lowering(FLOAT, CpuAttention(), linear))
    x = op.input("x", FLOAT, ["rows", INPUTS])
    op.output(op.linear(x, "layer", INPUTS, OUTPUTS, bias=True), "y", FLOAT, ["rows", OUTPUTS])
    ir.save(op.model("layer"), folder / "layer.onnx")
    session = ort.InferenceSession(folder / "layer.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, {"x": X})[0]


def unpacked(codes: np.ndarray, bits: int) -> np.ndarray:
    """Unpacks codes to ``[outputs, blocks, block]``, one in each entry."""
    return codes if bits == 8 else np.stack([codes & 15, codes >> 4], axis=-1).reshape(*codes.shape[:2], -1)


def from_blocks(codes: np.ndarray, scales: np.ndarray, bits: int) -> np.ndarray:
    values = (unpacked(codes, bits).astype(np.float32) - 2 ** (bits - 1)) * scales[:, :, None]
    return values.reshape(len(codes), -1)[:, :INPUTS]
