"""Which precisions there are, for which target, and how each lowers the linear layers (docs/precision.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from .attention import Attention, attention_for
from .errors import ExportError
from .linear import BlockWeights, DynamicInt8, Fp8, Linear, Stored

COMPUTE = {"fp32": ir.DataType.FLOAT, "fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}
PRECISIONS = (*COMPUTE, "fp8", "int8", "int8-dynamic", "int4")
BLOCKS = {8: 128, 4: 32}
"""inputs that share a scale, by bits"""
DEFAULTS = {"cpu": "fp32", "cuda": "bf16"}


@dataclass(frozen=True, slots=True)
class Lowering:
    """How one graph is written down."""

    dtype: ir.DataType
    """of activations, and of the tensors between the graphs"""
    attention: Attention
    linear: Linear


@dataclass(frozen=True, slots=True)
class Precision:
    """A precision of the command line, on one target."""

    name: str
    compute: str
    """``fp32``, ``fp16`` or ``bf16``: the dtype of activations"""
    attention: Attention
    decoder: Linear
    """of the decoder; the vision tower's linear layers are always as stored"""

    @property
    def packed(self) -> bool:
        """Weights are written anew; otherwise the graphs refer to the checkpoint's shards."""
        return not isinstance(self.decoder, Stored)

    def lowering(self, linear: Linear) -> Lowering:
        """The lowering of a graph whose linear layers are ``linear``."""
        return Lowering(COMPUTE[self.compute], self.attention, linear)

    def describe(self) -> dict[str, Any]:
        """The manifest's ``quantisation``, but for the list of what stays as it was."""
        return {"precision": self.name, "decoder": self.decoder.describe()}


def precision_for(target: str, name: str | None, largest: Mapping[str, float] | None = None) -> Precision:
    """``name`` (None: the target's default) on ``target``; ``largest`` are the ranges that fp8 was calibrated to.

    Raises:
        ExportError: an unknown target or precision, or one that the target cannot compute.
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
    decoder: Linear = Stored()
    if name in ("int8", "int4"):
        bits = int(name.removeprefix("int"))
        decoder = BlockWeights(bits, BLOCKS[bits], dtype)
    elif name == "int8-dynamic":
        decoder = DynamicInt8()
    elif name == "fp8":
        decoder = Fp8(dtype, largest or {})
    return Precision(name, compute, attention, decoder)
