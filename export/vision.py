"""``vision.onnx``: patches of B pages of one size -> features of their visual tokens (contract: docs/bundle.md).

Symbols: B pages, P patches and n = P / merge² visual tokens a page, C the tower's width, H the decoder's, L levels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from .checkpoint import Checkpoint, Tensor, Tensors
from .config import VisionConfig
from .lowering import Lowering, ModelBuilder
from .rotary import rotary_frequencies

FLOAT, INT64, UINT8 = ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.UINT8
PREFIX = "model.visual"


def fold_patch_embedding(
    checkpoint: Checkpoint, mean: tuple[float, ...], std: tuple[float, ...]
) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Folds frames and normalisation into the patch convolution, which then reads raw uint8 patches.

    A still image fills both frames of the temporal patch with the same pixels, so the kernel is summed over them. With
    ``y = W ((x / 255 - mean) / std) + b`` the normalisation moves into ``W' = W / (255 std)`` and
    ``b' = b - sum(W mean / std)``. Everything is computed in float64 by operations that round correctly (the long sums
    by `math.fsum`), so every machine writes the same bytes.

    Returns:
        ``patch_embed.weight [C, 3 * p * p]`` and ``patch_embed.bias [C]``, float32.
    """
    vision = checkpoint.config.vision
    size = vision.patch_size
    kernel = checkpoint.tensor(
        f"{PREFIX}.patch_embed.proj.weight", (vision.hidden_size, 3, vision.temporal_patch_size, size, size)
    ).numpy()
    bias = checkpoint.tensor(f"{PREFIX}.patch_embed.proj.bias", (vision.hidden_size,)).numpy()
    per_channel = kernel.astype(np.float64).sum(axis=2) / np.reshape(std, (1, 3, 1, 1))  # [C, 3, p, p]
    products = (per_channel * np.reshape(mean, (1, 3, 1, 1))).reshape(vision.hidden_size, -1)
    offset = np.array([math.fsum(row) for row in products])
    return {
        "patch_embed.weight": (per_channel / 255).reshape(vision.hidden_size, -1).astype(np.float32),
        "patch_embed.bias": (bias.astype(np.float64) - offset).astype(np.float32),
    }


def build_vision(tensors: Tensors, derived: Mapping[str, Tensor], lowering: Lowering) -> ir.Model:
    """Builds the vision tower as an ONNX model."""
    config, hidden = tensors.config.vision, tensors.config.decoder.hidden_size
    op = ModelBuilder(tensors, lowering)
    patches = op.input("patches", UINT8, ["B", "P", config.patch_values])
    rows = op.input("patch_rows", INT64, ["P"])
    cols = op.input("patch_cols", INT64, ["P"])

    batch, count = op.Shape(patches, start=0, end=1), op.Shape(patches, start=1, end=2)
    shape_3d = op.Concat(batch, count, [config.hidden_size], axis=0)
    cos, sin = _rotary(op, config, rows, cols, batch)

    x = _embed(op, config, derived, patches)  # [B * P, C]
    x = op.Reshape(op.Add(op.Reshape(x, shape_3d), _positions(op, config, rows, cols)), [-1, config.hidden_size])
    stream = _Residual(op, x, f"{PREFIX}.blocks.0.norm1", config.hidden_size)
    levels: list[ir.Value] = []
    for layer in range(config.depth):
        last = layer == config.depth - 1
        following = f"{PREFIX}.merger.norm" if last else f"{PREFIX}.blocks.{layer + 1}.norm1"
        _block(op, config, f"{PREFIX}.blocks.{layer}", stream, following, shape_3d, cos, sin)
        if layer in config.deepstack:
            name = f"{PREFIX}.deepstack_merger_list.{config.deepstack.index(layer)}"
            levels.append(_merge(op, config, name, stream, hidden, norm_after_shuffle=True))
    levels.insert(0, _merge(op, config, f"{PREFIX}.merger", stream, hidden, norm_after_shuffle=False))

    stacked = op.Concat(*(op.Unsqueeze(level, [1]) for level in levels), axis=1)  # [B * n, L, H]
    features = op.Reshape(stacked, op.Concat(batch, [-1, len(levels), hidden], axis=0))
    op.output(features, "features", lowering.dtype, ["B", "n", len(levels), hidden])
    return op.model("vision")


def _embed(op: ModelBuilder, config: VisionConfig, derived: Mapping[str, Tensor], patches: ir.Value) -> ir.Value:
    """Embeds patches, ``[B, P, 768] uint8 -> [B * P, C]``.

    The product is in float32: pixels reach 255, which would multiply the error of rounded weights.
    """
    pixels = op.Reshape(op.cast(patches, FLOAT), [-1, config.patch_values])
    weight, bias = op.external(derived["patch_embed.weight"]), op.external(derived["patch_embed.bias"])
    return op.cast(op.Gemm(pixels, weight, bias, transB=1), op.dtype)


def _positions(op: ModelBuilder, config: VisionConfig, rows: ir.Value, cols: ir.Value) -> ir.Value:
    """Resamples the square table of learned positions to the page's grid: ``[P, C]``, bilinear, corners aligned.

    The last patch is the page's lower right corner (docs/bundle.md), so its row and column are the largest.
    """
    side = config.position_side
    table = op.raw(f"{PREFIX}.pos_embed.weight", (side * side, config.hidden_size))

    def taps(index: ir.Value) -> tuple[tuple[ir.Value, ir.Value], tuple[ir.Value, ir.Value]]:
        if op.lowering.reduces_integers:
            largest = op.ReduceMax(index, keepdims=0)
        else:
            largest = op.Slice(index, [-1], [2**62], [0])
        last = op.Max(largest, 1)
        source = op.Div(op.Mul(op.cast(index, FLOAT), float(side - 1)), op.cast(last, FLOAT))
        low = op.Floor(source)
        fraction = op.Sub(source, low)
        low_index = op.cast(low, INT64)
        high_index = op.Min(op.Add(low_index, 1), side - 1)
        return (low_index, op.Sub(1.0, fraction)), (high_index, fraction)

    total = None
    for row_index, row_weight in taps(rows):
        for col_index, col_weight in taps(cols):
            index = op.Add(op.Mul(row_index, side), col_index)
            weight = op.Unsqueeze(op.Mul(row_weight, col_weight), [1])
            # gathered before it is cast, so that only these rows change their dtype
            tap = op.Mul(op.cast(op.Gather(table, index), FLOAT), weight)
            total = tap if total is None else op.Add(total, tap)
    assert total is not None
    return op.cast(total, op.dtype)


def _rotary(
    op: ModelBuilder, config: VisionConfig, rows: ir.Value, cols: ir.Value, batch: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """Returns cos and sin ``[B, P, head_dim / 2]``: half of the angles are of the row, half of the column.

    Angles are in float32. To rotate in float32, as transformers does, a GPU would cast queries and keys there and back
    in every block (docs/precision.md has the error, docs/gpu.md the cost).
    """
    frequencies = rotary_frequencies(config.rope_theta, config.head_dim // 2)
    angles = op.Concat(
        *(op.Mul(op.Unsqueeze(op.cast(index, FLOAT), [1]), frequencies) for index in (rows, cols)), axis=1
    )
    shape = op.Concat(batch, op.Shape(angles), axis=0)
    if not op.lowering.rotates_in_dtype:
        return op.Expand(op.Cos(angles), shape), op.Expand(op.Sin(angles), shape)
    cos, sin = op.cast(op.Cos(angles), op.dtype), op.cast(op.Sin(angles), op.dtype)
    return op.Expand(cos, shape), op.Expand(sin, shape)


class _Residual:
    """The sum ``[B * P, C]`` that layers add to, each of which reads its LayerNorm.

    Args:
        op: The builder.
        value: The sum so far.
        norm: Name of the LayerNorm that is read next.
        width: C.
    """

    def __init__(self, op: ModelBuilder, value: ir.Value, norm: str, width: int) -> None:
        self.value = value
        self._op, self._width, self._norm = op, width, norm
        self._normed: ir.Value | None = None

    def normed(self) -> ir.Value:
        """Returns the LayerNorm of the sum."""
        if self._normed is None:
            self._normed = self._op.layer_norm(self.value, self._norm, self._width)
        return self._normed

    def add(self, x: ir.Value, linear: str, inputs: int, norm: str) -> None:
        """Adds the layer ``linear`` of ``x [B * P, inputs]``; the LayerNorm ``norm`` is read next."""
        op, width = self._op, self._width
        self._norm = norm
        if op.lowering.fuses_biases:
            product = op.linear(x, linear, inputs, width)
            self.value, self._normed = op.skip_layer_norm(product, linear, self.value, norm, width)
        else:
            self.value, self._normed = op.Add(self.value, op.linear(x, linear, inputs, width, bias=True)), None


def _block(
    op: ModelBuilder,
    config: VisionConfig,
    name: str,
    stream: _Residual,
    following: str,
    shape_3d: ir.Value,
    cos: ir.Value,
    sin: ir.Value,
) -> None:
    """Applies one transformer block; attention is within a page. ``following`` is the LayerNorm behind it."""
    width, wide = config.hidden_size, config.intermediate_size
    qkv = op.linear(stream.normed(), f"{name}.attn.qkv", width, 3 * width, bias=True)
    q, k, v = op.multi("Split", 3, qkv, axis=-1, num_outputs=3)

    def rotate(value: ir.Value) -> ir.Value:
        x = op.Reshape(value, shape_3d)
        if op.lowering.rotates_in_dtype:
            return op.RotaryEmbedding(x, cos, sin, num_heads=config.heads)
        return op.cast(op.RotaryEmbedding(op.cast(x, FLOAT), cos, sin, num_heads=config.heads), op.dtype)

    attended = op.full_attention(rotate(q), rotate(k), op.Reshape(v, shape_3d), config.heads)
    stream.add(op.Reshape(attended, [-1, width]), f"{name}.attn.proj", width, f"{name}.norm2")
    gelu = op.linear_gelu(stream.normed(), f"{name}.mlp.linear_fc1", width, wide)
    stream.add(gelu, f"{name}.mlp.linear_fc2", wide, following)


def _merge(
    op: ModelBuilder, config: VisionConfig, name: str, stream: _Residual, outputs: int, *, norm_after_shuffle: bool
) -> ir.Value:
    """Merges the patches of each visual token, ``[B * P, C] -> [B * n, H]``.

    The merge² patches of a visual token are neighbours, so the shuffle is a reshape. The final merger normalises each
    patch before the shuffle, the DeepStack mergers the whole token after it; both use exact GELU.
    """
    wide = config.hidden_size * config.merge_size**2
    if norm_after_shuffle:
        x = op.layer_norm(op.Reshape(stream.value, [-1, wide]), f"{name}.norm", wide)
    else:
        x = op.Reshape(stream.normed(), [-1, wide])
    x = op.Gelu(op.linear(x, f"{name}.linear_fc1", wide, wide, bias=True), approximate="none")
    return op.linear(x, f"{name}.linear_fc2", wide, outputs, bias=True)
