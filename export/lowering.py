"""How a precision writes one graph down, and the builder that applies it."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from .attention import Attention
from .checkpoint import Tensors
from .contrib import fast_gelu_function, skip_layer_norm_function
from .graph import LAYER_NORM_EPSILON, GraphBuilder
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
        fuses_biases: Whether the operator behind a product adds the product's bias (contrib.py). ONNX Runtime's Gemm
            writes it into the output before the product, a pass over memory of its own on a GPU.
        rotates_in_dtype: Whether the vision tower rotates in ``dtype``; otherwise in float32, as transformers does.
    """

    dtype: ir.DataType
    attention: Attention
    linear: Linear
    reduces_integers: bool = True
    fuses_biases: bool = False
    rotates_in_dtype: bool = False


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

    def linear_gelu(self, x: ir.Value, name: str, inputs: int, outputs: int) -> ir.Value:
        """Applies the linear layer ``name``, with its bias, and the tanh approximation of GELU."""
        if not self.lowering.fuses_biases:
            return self.Gelu(self.linear(x, name, inputs, outputs, bias=True), approximate="tanh")
        product = self.linear(x, name, inputs, outputs)
        return self.call(fast_gelu_function(), product, self.weight(f"{name}.bias", outputs))

    def skip_layer_norm(
        self, x: ir.Value, linear: str, skip: ir.Value, norm: str, size: int
    ) -> tuple[ir.Value, ir.Value]:
        """Returns ``x + bias of the layer linear + skip``, and its LayerNorm, in one operator (`fuses_biases`)."""
        names = (f"{norm}.weight", f"{norm}.bias", f"{linear}.bias")
        parameters = [self.weight(name, size) for name in names]
        # x, the small one, is first: the kernel rounds x + bias before it adds skip
        results = self.call_multi(skip_layer_norm_function(), x, skip, *parameters, epsilon=LAYER_NORM_EPSILON)
        return results[3], results[0]

    def full_attention(self, q: ir.Value, k: ir.Value, v: ir.Value, heads: int) -> ir.Value:
        """Attends from every position to every other, within one page."""
        return self.lowering.attention.full(self, q, k, v, heads)

    def causal_attention(self, q: ir.Value, k: ir.Value, v: ir.Value, heads: int, kv_heads: int) -> ir.Value:
        """Attends from every position to itself and those before it."""
        return self.lowering.attention.causal(self, q, k, v, heads, kv_heads)
