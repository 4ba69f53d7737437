"""Operators of ONNX Runtime that its CUDA provider fuses, with bodies in standard operators for every other host.

ONNX Runtime runs its own kernels for these names; TensorRT and TensorRT-RTX, which have none, read the bodies.
"""

from __future__ import annotations

import onnx_ir as ir

from .graph import MICROSOFT, Ops

EPSILON = "epsilon"


def fast_gelu_function() -> ir.Function:
    """Builds ``FastGelu(x [..., C], bias [C])``: the tanh approximation of GELU of ``x + bias``."""
    op, (x, bias) = Ops(), _values("FastGelu", "x", "bias")
    result = op.Gelu(op.Add(x, bias), approximate="tanh")
    return op.function("FastGelu", (x, bias), [result], domain=MICROSOFT)


def skip_layer_norm_function() -> ir.Function:
    """Builds ``SkipLayerNormalization(x, skip [..., C], scale, offset, bias [C])``; attribute ``epsilon``.

    Returns the LayerNorm of ``x + bias + skip``, two results that only training reads, and the sum.
    """
    names = ("x", "skip", "scale", "offset", "bias")
    op, (x, skip, scale, offset, bias) = Ops(), _values("SkipLayerNormalization", *names)
    total = op.Add(op.Add(x, bias), skip)
    epsilon = ir.RefAttr(EPSILON, EPSILON, ir.AttributeType.FLOAT)
    normed = op.LayerNormalization(total, scale, offset, axis=-1, epsilon=epsilon)
    # TensorRT wants a value for each result; nothing reads these two
    unused = op.Identity(total), op.Identity(total)
    return op.function(
        "SkipLayerNormalization",
        (x, skip, scale, offset, bias),
        [normed, *unused, total],
        {EPSILON: ir.AttributeType.FLOAT},
        domain=MICROSOFT,
    )


def _values(function: str, *names: str) -> list[ir.Value]:
    return [ir.Value(name=f"{function}/{name}") for name in names]
