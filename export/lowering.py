"""How a precision writes one graph down, and the builder that applies it."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from .attention import Attention
from .checkpoint import Tensors
from .graph import GraphBuilder
from .linear import Linear


@dataclass(frozen=True, slots=True)
class Lowering:
    """How one graph is written down.

    Attributes:
        dtype: Of activations, and of the tensors between the graphs.
        attention: How attention is expressed.
        linear: How linear layers are stored and multiplied.
        reduces_integers: Whether the largest of some integers may be asked for. ONNX Runtime finds it on a GPU through
            cuDNN, which nothing else here needs.
    """

    dtype: ir.DataType
    attention: Attention
    linear: Linear
    reduces_integers: bool = True


class ModelBuilder(GraphBuilder):
    """A graph builder with the layers that a lowering decides about.

    Args:
        tensors: The weights by name.
        lowering: How attention and linear layers are written down.
    """

    def __init__(self, tensors: Tensors, lowering: Lowering) -> None:
        super().__init__(tensors, lowering.dtype)
        self.lowering = lowering

    def linear(self, x: ir.Value, name: str, inputs: int, outputs: int, *, bias: bool = False) -> ir.Value:
        """Applies the linear layer ``name``: ``x [rows, inputs] -> [rows, outputs]``."""
        return self.lowering.linear.apply(self, x, name, inputs, outputs, bias)

    def full_attention(self, q: ir.Value, k: ir.Value, v: ir.Value, heads: int) -> ir.Value:
        """Attends from every position to every other, within one page."""
        return self.lowering.attention.full(self, q, k, v, heads)

    def causal_attention(self, q: ir.Value, k: ir.Value, v: ir.Value, heads: int, kv_heads: int) -> ir.Value:
        """Attends from every position to itself and those before it."""
        return self.lowering.attention.causal(self, q, k, v, heads, kv_heads)
