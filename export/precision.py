"""The precisions of each target, and how each of them lowers attention and linear layers (docs/precision.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from .attention import Attention, attention_for
from .errors import ExportError
from .linear import BlockWeights, DynamicInt8, Fp8, Linear, Stored
from .lowering import Lowering

COMPUTE = {"fp32": ir.DataType.FLOAT, "fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}
PRECISIONS = (*COMPUTE, "fp8", "int8", "int8-dynamic", "int4")
BLOCKS = {8: 128, 4: 32}
"""Inputs that share a scale, by bits of a weight."""
DEFAULTS = {"cpu": "fp32", "cuda": "bf16"}


@dataclass(frozen=True, slots=True)
class Precision:
    """A precision of the command line, on one target.

    Attributes:
        name: As ``--precision`` takes it.
        compute: ``fp32``, ``fp16`` or ``bf16``: the dtype of activations.
        attention: How both graphs express attention.
        linear: How the decoder's linear layers are stored and multiplied. The vision tower's are always as stored.
        on_gpu: Whether the target is a GPU.
    """

    name: str
    compute: str
    attention: Attention
    linear: Linear
    on_gpu: bool

    @property
    def packed(self) -> bool:
        """Whether the bundle holds weights of its own; otherwise the graphs refer to the checkpoint's shards."""
        return not isinstance(self.linear, Stored)

    @property
    def vision(self) -> Lowering:
        """The lowering of the vision tower."""
        return Lowering(
            COMPUTE[self.compute],
            self.attention,
            Stored(),
            reduces_integers=not self.on_gpu,
            fuses_biases=self.on_gpu,
            rotates_in_dtype=self.on_gpu,
        )

    @property
    def decoder(self) -> Lowering:
        """The lowering of the decoder."""
        return Lowering(COMPUTE[self.compute], self.attention, self.linear, reduces_integers=not self.on_gpu)

    def describe(self) -> dict[str, Any]:
        """Returns the manifest's ``quantisation``, without the list of tensors that are as stored."""
        return {"precision": self.name, "decoder": self.linear.describe()}


def precision_for(target: str, name: str | None, largest: Mapping[str, float] | None = None) -> Precision:
    """Looks up a precision on a target.

    Args:
        target: ``cpu`` or ``cuda``.
        name: A precision, or None for the target's default.
        largest: For fp8, the largest magnitude of each layer's input, by the layer's name, from calibration.

    Raises:
        ExportError: The target or the precision is unknown, or the target cannot compute the precision.
    """
    attention = attention_for(target)
    name = name or DEFAULTS[target]
    if name not in PRECISIONS:
        raise ExportError(f"precision {name!r} is unknown: use one of {', '.join(PRECISIONS)}")
    if target == "cpu" and name in ("fp16", "bf16"):
        raise ExportError(
            f"precision {name} on target cpu: ONNX Runtime's CPU kernels compute in fp32; use fp32, int8, "
            "int8-dynamic or int4, or target cuda"
        )
    if target != "cpu" and name == "int8-dynamic":
        raise ExportError(f"precision {name} on target {target}: it is for the CPU's 8-bit products, use int8 or fp8")
    compute = name if name in COMPUTE else DEFAULTS[target]
    dtype = COMPUTE[compute]
    linear: Linear = Stored()
    if name in ("int8", "int4"):
        bits = int(name.removeprefix("int"))
        linear = BlockWeights(bits, BLOCKS[bits], dtype)
    elif name == "int8-dynamic":
        linear = DynamicInt8()
    elif name == "fp8":
        linear = Fp8(dtype, largest or {})
    return Precision(name, compute, attention, linear, on_gpu=target != "cpu")
