"""The lowerings of a linear layer ``x [rows, inputs] -> [rows, outputs]``: how its weight is stored and multiplied.

docs/precision.md says which precision uses which, and what decided it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir

from .errors import ExportError
from .graph import MICROSOFT, GraphBuilder
from .quantise import Array, e4m3_scale, quantise_blocks, quantise_e4m3, quantise_rows

E4M3 = ir.DataType.FLOAT8E4M3FN
TINIEST = 1e-30
"""Lower bound of a scale, so that a row of zeros is not divided by 0."""


class Linear(Protocol):
    """A way to store the weights of linear layers and to multiply with them."""

    def pack(self, name: str, weight: Array) -> dict[str, Array]:
        """Converts the checkpoint's ``weight [outputs, inputs]`` of layer ``name`` to the tensors that are stored."""
        ...

    def apply(self, op: GraphBuilder, x: ir.Value, name: str, inputs: int, outputs: int, bias: bool) -> ir.Value:
        """Computes ``x W^T``, or ``x W^T + b``: ``x [rows, inputs] -> [rows, outputs]``."""
        ...

    def describe(self) -> dict[str, Any]:
        """Returns the manifest's ``quantisation.decoder`` (docs/bundle.md)."""
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """The checkpoint's own tensors. Gemm with transB reads the stored ``[outputs, inputs]`` as it is."""

    def pack(self, name: str, weight: Array) -> dict[str, Array]:
        return {f"{name}.weight": weight}

    def apply(self, op: GraphBuilder, x: ir.Value, name: str, inputs: int, outputs: int, bias: bool) -> ir.Value:
        parameters = [op.weight(f"{name}.weight", outputs, inputs)]
        if bias:
            parameters.append(op.weight(f"{name}.bias", outputs))
        return op.Gemm(x, *parameters, transB=1)

    def describe(self) -> dict[str, Any]:
        return {"scheme": "stored"}


@dataclass(frozen=True, slots=True)
class BlockWeights:
    """``MatMulNBits``: 4 or 8 bits a weight, one scale for each block of inputs; activations are not rounded.

    Attributes:
        bits: 4 or 8.
        block: Inputs that share a scale.
        dtype: Of the activations, and so of the scales.
    """

    bits: int
    block: int
    dtype: ir.DataType

    def pack(self, name: str, weight: Array) -> dict[str, Array]:
        codes, scales = quantise_blocks(weight, self.bits, self.block, self.dtype.numpy())
        return {f"{name}.blocks": codes, f"{name}.scales": scales}

    def apply(self, op: GraphBuilder, x: ir.Value, name: str, inputs: int, outputs: int, bias: bool) -> ir.Value:
        count = -(-inputs // self.block)
        codes = op.raw(f"{name}.blocks", (outputs, count, self.block * self.bits // 8))
        scales = op.raw(f"{name}.scales", (outputs, count))
        shape = {"N": outputs, "K": inputs, "bits": self.bits, "block_size": self.block}
        return _biased(op, op.MatMulNBits(x, codes, scales, **shape, _domain=MICROSOFT), name, outputs, bias)

    def describe(self) -> dict[str, Any]:
        return {"scheme": "blocks", "bits": self.bits, "block_size": self.block}


@dataclass(frozen=True, slots=True)
class DynamicInt8:
    """8-bit products on the CPU: one scale for each row of activations, found at run time, and one for each output.

    Each row has its own scale because a few tokens of a language model are a thousand times larger than the others.

    Attributes:
        limit: The largest code of a weight. It is 63 and not 127, because AVX2 adds pairs of products in 16 bits, which
            255 * 127 * 2 would overflow.
    """

    limit: int = 63

    def pack(self, name: str, weight: Array) -> dict[str, Array]:
        codes, scales = quantise_rows(weight, self.limit)
        return {f"{name}.int8": np.ascontiguousarray(codes.T), f"{name}.scales": scales}

    def apply(self, op: GraphBuilder, x: ir.Value, name: str, inputs: int, outputs: int, bias: bool) -> ir.Value:
        codes, row_scales = op.once(("int8", x), lambda: self._quantise(op, x))
        weight, scales = op.raw(f"{name}.int8", (inputs, outputs)), op.raw(f"{name}.scales", (outputs,))
        product = op.MatMulIntegerToFloat(codes, weight, 1.0, scales, np.uint8(128), _domain=MICROSOFT)
        return _biased(op, op.Mul(product, row_scales), name, outputs, bias)

    def _quantise(self, op: GraphBuilder, x: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Rounds ``x`` to ``[rows, inputs]`` uint8 around 128, with scales ``[rows, 1]``."""
        highest, lowest = op.ReduceMax(x, [1], keepdims=1), op.ReduceMin(x, [1], keepdims=1)
        scales = op.Mul(op.Max(highest, op.Neg(lowest), TINIEST), 1 / 127)
        return op.QuantizeLinear(op.Mul(x, op.Reciprocal(scales)), 1.0, np.uint8(128)), scales

    def describe(self) -> dict[str, Any]:
        return {
            "scheme": "dynamic",
            "bits": 8,
            "steps": self.limit,
            "weight_scales": "output",
            "activation_scales": "row",
        }


@dataclass(frozen=True, slots=True)
class Fp8:
    """8-bit floats (E4M3) as Quantize/Dequantize pairs, which TensorRT turns into FP8 products.

    Weights have a scale for each output; activations have one for each tensor, from calibration.

    Attributes:
        dtype: Of the activations between the products.
        largest: Largest magnitude of each layer's input, by the layer's name.
    """

    dtype: ir.DataType
    largest: Mapping[str, float]

    def pack(self, name: str, weight: Array) -> dict[str, Array]:
        codes, scales = quantise_e4m3(weight, self.dtype.numpy())
        return {f"{name}.e4m3": codes, f"{name}.scales": scales}

    def apply(self, op: GraphBuilder, x: ir.Value, name: str, inputs: int, outputs: int, bias: bool) -> ir.Value:
        if name not in self.largest:
            raise ExportError(f"the calibration has no range for {name}: calibrate with this checkpoint")
        scale = op.constant(e4m3_scale(np.array(max(self.largest[name], TINIEST)), self.dtype.numpy()))

        def quantise() -> ir.Value:
            return op.DequantizeLinear(op.QuantizeLinear(x, scale, output_dtype=int(E4M3)), scale)

        rounded = op.once(("fp8", x, scale), quantise)
        codes, scales = op.raw(f"{name}.e4m3", (outputs, inputs)), op.raw(f"{name}.scales", (outputs,))
        weight = op.DequantizeLinear(codes, scales, axis=0)
        return _biased(op, op.Gemm(rounded, weight, transB=1), name, outputs, bias)

    def describe(self) -> dict[str, Any]:
        return {"scheme": "fp8", "format": "e4m3", "weight_scales": "output", "activation_scales": "tensor"}


def _biased(op: GraphBuilder, product: ir.Value, name: str, outputs: int, bias: bool) -> ir.Value:
    return op.Add(product, op.weight(f"{name}.bias", outputs)) if bias else product
