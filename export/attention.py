"""The two lowerings of attention. Both take ``[B, S, heads * head_dim]`` and scale by ``head_dim ** -0.5``.

``cuda`` uses the standard operator (opset 23): CUDA, TensorRT and TensorRT-RTX fuse it. ``cpu`` uses operators of ours
(docs/bundle.md), for which libziprerank has kernels. Their bodies, for other hosts, are ONNX Runtime's own operators,
because its CPU kernel for the standard one materialises the S x S matrix (2.2 GB against 232 MB at S = 8192).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import onnx_ir as ir

from .errors import ExportError
from .graph import MICROSOFT, GraphBuilder, Ops


class Attention(Protocol):
    """How the attention of both graphs is written down."""

    def full(self, op: GraphBuilder, q: ir.Value, k: ir.Value, v: ir.Value, heads: int) -> ir.Value:
        """Every position sees every other: the vision tower, within one page."""
        ...

    def causal(self, op: GraphBuilder, q: ir.Value, k: ir.Value, v: ir.Value, heads: int, kv_heads: int) -> ir.Value:
        """Every position sees itself and those before it: the decoder, batch 1."""
        ...


class StandardAttention:
    """ONNX ``Attention``-23."""

    def full(self, op: GraphBuilder, q: ir.Value, k: ir.Value, v: ir.Value, heads: int) -> ir.Value:
        return op.Attention(q, k, v, q_num_heads=heads, kv_num_heads=heads)

    def causal(self, op: GraphBuilder, q: ir.Value, k: ir.Value, v: ir.Value, heads: int, kv_heads: int) -> ir.Value:
        return op.Attention(q, k, v, q_num_heads=heads, kv_num_heads=kv_heads, is_causal=1)


class CpuAttention:
    """``FullAttention`` and ``CausalAttention`` of ours."""

    def full(self, op: GraphBuilder, q: ir.Value, k: ir.Value, v: ir.Value, heads: int) -> ir.Value:
        return _float(op.call(full_function(), q, k, v, heads=heads))

    def causal(self, op: GraphBuilder, q: ir.Value, k: ir.Value, v: ir.Value, heads: int, kv_heads: int) -> ir.Value:
        return _float(op.call(causal_function(), q, k, v, heads=heads, kv_heads=kv_heads))


def full_function() -> ir.Function:
    """``(q, k, v [B, S, heads * head_dim]) -> [B, S, heads * head_dim]``; attribute ``heads``."""
    op, q, k, v = _operands("FullAttention")
    attended = op.MultiHeadAttention(q, k, v, num_heads=_parameter("num_heads", "heads"), _domain=MICROSOFT)
    return op.function("FullAttention", (q, k, v), attended, ["heads"])


def causal_function() -> ir.Function:
    """``(q [1, S, heads * head_dim], k, v [1, S, kv_heads * head_dim]) -> [1, S, heads * head_dim]``.

    Attributes ``heads`` and ``kv_heads``.
    """
    op, q, k, v = _operands("CausalAttention")
    # no cache: one prompt of S tokens, whose last key is at S - 1
    length = op.cast(op.Shape(q, start=1, end=2), ir.DataType.INT32)
    inputs = (q, k, v, None, None, op.Sub(length, np.array([1], np.int32)), op.Squeeze(length, [0]))
    heads = {"num_heads": _parameter("num_heads", "heads"), "kv_num_heads": _parameter("kv_num_heads", "kv_heads")}
    attended = op.multi("GroupQueryAttention", 3, *inputs, **heads, _domain=MICROSOFT)[0]
    return op.function("CausalAttention", (q, k, v), attended, ["heads", "kv_heads"])


def _float(attended: ir.Value) -> ir.Value:
    """ONNX's own type inference knows no operators of ONNX Runtime's, so it cannot tell from the body."""
    attended.type = ir.TensorType(ir.DataType.FLOAT)
    return attended


def _operands(name: str) -> tuple[Ops, ir.Value, ir.Value, ir.Value]:
    q, k, v = (ir.Value(name=f"{name}/{part}") for part in "qkv")
    return Ops(), q, k, v


def _parameter(name: str, of_function: str) -> ir.Attr:
    """An attribute of an operator in a body, which has the value of the function's attribute."""
    return ir.RefAttr(name, of_function, ir.AttributeType.INT)


def attention_for(target: str) -> Attention:
    """The lowering for an export target, ``cpu`` or ``cuda``."""
    lowerings: dict[str, Attention] = {"cpu": CpuAttention(), "cuda": StandardAttention()}
    if target not in lowerings:
        raise ExportError(f"target {target!r} is unknown: use one of {', '.join(lowerings)}")
    return lowerings[target]


def attend_last(op: Ops, q: ir.Value, k: ir.Value, v: ir.Value, kv_heads: int, head_dim: int) -> ir.Value:
    """One query ``q [1, 1, heads * head_dim]``, the last position, over all keys ``k, v [1, S, kv_heads * head_dim]``.

    Nothing is masked and ``[heads, S]`` is small, so plain products serve both lowerings; TensorRT has no
    Attention kernel for this shape. The query heads that share a key head stand together, as rows of one product.
    Softmax in float32.
    """

    def by_head(x: ir.Value, perm: list[int]) -> ir.Value:
        return op.Transpose(op.Reshape(x, [-1, kv_heads, head_dim]), perm=perm)

    group = op.Reshape(q, [kv_heads, -1, head_dim])  # [kv_heads, heads / kv_heads, head_dim]
    logits = op.cast(op.MatMul(group, by_head(k, [1, 2, 0])), ir.DataType.FLOAT)
    weights = op.Softmax(op.Mul(logits, head_dim**-0.5), axis=-1)
    return op.MatMul(op.CastLike(weights, v), by_head(v, [1, 0, 2]))
