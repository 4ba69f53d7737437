"""The two lowerings of attention. Both take ``[B, S, heads * head_dim]`` and scale by ``head_dim ** -0.5``.

`StandardAttention`, for target ``cuda``, is the standard operator (opset 23), which CUDA, TensorRT and TensorRT-RTX
fuse. `CpuAttention`, for target ``cpu``, is operators of the domain ``ziprerank`` (docs/bundle.md), for which
libziprerank has kernels. Their bodies, for other hosts, are ONNX Runtime's own operators: its CPU kernel for the
standard operator materialises the S x S matrix (2.2 GB against 232 MB at S = 8192).
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import onnx_ir as ir

from .errors import ExportError
from .graph import MICROSOFT, GraphBuilder, Ops


class Attention(Protocol):
    """How both graphs express attention."""

    def full(self, op: GraphBuilder, q: ir.Value, k: ir.Value, v: ir.Value, heads: int) -> ir.Value:
        """Attends from every position to every other: the vision tower, within one page."""
        ...

    def causal(self, op: GraphBuilder, q: ir.Value, k: ir.Value, v: ir.Value, heads: int, kv_heads: int) -> ir.Value:
        """Attends from every position to itself and those before it: the decoder, batch 1."""
        ...


class StandardAttention:
    """ONNX ``Attention``-23."""

    def full(self, op: GraphBuilder, q: ir.Value, k: ir.Value, v: ir.Value, heads: int) -> ir.Value:
        return op.Attention(q, k, v, q_num_heads=heads, kv_num_heads=heads)

    def causal(self, op: GraphBuilder, q: ir.Value, k: ir.Value, v: ir.Value, heads: int, kv_heads: int) -> ir.Value:
        return op.Attention(q, k, v, q_num_heads=heads, kv_num_heads=kv_heads, is_causal=1)


class CpuAttention:
    """``ziprerank::FullAttention`` and ``ziprerank::CausalAttention``."""

    def full(self, op: GraphBuilder, q: ir.Value, k: ir.Value, v: ir.Value, heads: int) -> ir.Value:
        return _float(op.call(full_function(), q, k, v, heads=heads))

    def causal(self, op: GraphBuilder, q: ir.Value, k: ir.Value, v: ir.Value, heads: int, kv_heads: int) -> ir.Value:
        return _float(op.call(causal_function(), q, k, v, heads=heads, kv_heads=kv_heads))


def full_function() -> ir.Function:
    """Builds ``FullAttention(q, k, v [B, S, heads * head_dim]) -> [B, S, heads * head_dim]``; attribute ``heads``."""
    op, q, k, v = _operands("FullAttention")
    attended = op.MultiHeadAttention(q, k, v, num_heads=_parameter("num_heads", "heads"), _domain=MICROSOFT)
    return op.function("FullAttention", (q, k, v), [attended], {"heads": ir.AttributeType.INT})


def causal_function() -> ir.Function:
    """Builds ``CausalAttention``; attributes ``heads`` and ``kv_heads``.

    Its inputs are ``q [1, S, heads * head_dim]`` and ``k, v [1, S, kv_heads * head_dim]``, the output is like ``q``.
    """
    op, q, k, v = _operands("CausalAttention")
    # no cache: one prompt of S tokens, whose last key is at S - 1
    length = op.cast(op.Shape(q, start=1, end=2), ir.DataType.INT32)
    inputs = (q, k, v, None, None, op.Sub(length, np.array([1], np.int32)), op.Squeeze(length, [0]))
    heads = {"num_heads": _parameter("num_heads", "heads"), "kv_num_heads": _parameter("kv_num_heads", "kv_heads")}
    attended = op.multi("GroupQueryAttention", 3, *inputs, **heads, _domain=MICROSOFT)[0]
    attributes = dict.fromkeys(("heads", "kv_heads"), ir.AttributeType.INT)
    return op.function("CausalAttention", (q, k, v), [attended], attributes)


def _float(attended: ir.Value) -> ir.Value:
    """Sets the type, which ONNX cannot infer from the body: it does not know ONNX Runtime's operators."""
    attended.type = ir.TensorType(ir.DataType.FLOAT)
    return attended


def _operands(name: str) -> tuple[Ops, ir.Value, ir.Value, ir.Value]:
    q, k, v = (ir.Value(name=f"{name}/{part}") for part in "qkv")
    return Ops(), q, k, v


def _parameter(name: str, of_function: str) -> ir.Attr:
    """Returns an operator's attribute that takes its value from the attribute ``of_function`` of the body."""
    return ir.RefAttr(name, of_function, ir.AttributeType.INT)


def attention_for(target: str) -> Attention:
    """Returns the lowering for an export target, ``cpu`` or ``cuda``.

    Raises:
        ExportError: The target is unknown.
    """
    lowerings: dict[str, Attention] = {"cpu": CpuAttention(), "cuda": StandardAttention()}
    if target not in lowerings:
        raise ExportError(f"target {target!r} is unknown: use one of {', '.join(lowerings)}")
    return lowerings[target]


def attend_last(op: Ops, q: ir.Value, k: ir.Value, v: ir.Value, kv_heads: int, head_dim: int) -> ir.Value:
    """Attends from one query ``q [1, 1, heads * head_dim]`` to all keys ``k, v [1, S, kv_heads * head_dim]``.

    The query is the last position, so nothing is masked, and ``[heads, S]`` is small. Plain products therefore serve
    both lowerings; TensorRT has no Attention kernel for this shape. The query heads that share a key head are the rows
    of one product. Softmax is computed in float32.
    """

    def by_head(x: ir.Value, perm: list[int]) -> ir.Value:
        return op.Transpose(op.Reshape(x, [-1, kv_heads, head_dim]), perm=perm)

    group = op.Reshape(q, [kv_heads, -1, head_dim])  # [kv_heads, heads / kv_heads, head_dim]
    logits = op.cast(op.MatMul(group, by_head(k, [1, 2, 0])), ir.DataType.FLOAT)
    weights = op.Softmax(op.Mul(logits, 1 / math.sqrt(head_dim)), axis=-1)
    return op.MatMul(op.CastLike(weights, v), by_head(v, [1, 0, 2]))
