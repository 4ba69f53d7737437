"""A thin builder over onnx_ir, so that the graphs read as the model's definition: ``op.Gemm(x, w, transB=1)``."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from .checkpoint import Tensor, Tensors

OPSET = 23  # the first with Attention, RMSNormalization and RotaryEmbedding
IR_VERSION = 11
DOMAIN = "ziprerank"
"""Domain of the operators that libziprerank has kernels for."""
MICROSOFT = "com.microsoft"
"""Domain of ONNX Runtime's own operators."""
LAYER_NORM_EPSILON = 1e-6
"""Of every LayerNorm in Qwen3-VL's vision tower."""
_T = TypeVar("_T")


class Ops:
    """ONNX operators as methods: ``op.Add(x, 1)``.

    Arguments that are numbers, lists or arrays become constants. Keywords become attributes, except ``_domain``, which
    selects the operator's domain. Use `multi` for an operator with several results.
    """

    def __init__(self) -> None:
        self.tape = Tape()
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}

    def __getattr__(self, op_type: str) -> Callable[..., ir.Value]:
        if op_type.startswith("_"):
            raise AttributeError(op_type)

        def build(*inputs: Any, _domain: str = "", **attributes: Any) -> ir.Value:
            return self.tape.op(op_type, [self._argument(item) for item in inputs], attributes, domain=_domain)

        return build

    def multi(
        self, op_type: str, results: int, *inputs: Any, _domain: str = "", **attributes: Any
    ) -> Sequence[ir.Value]:
        """Adds an operator with several results."""
        values = [self._argument(item) for item in inputs]
        return self.tape.op_multi_out(op_type, values, attributes, domain=_domain, num_outputs=results)

    def constant(self, item: Any) -> ir.Value:
        """Adds a constant, or returns the equal one that exists. Python ints become int64, floats float32."""
        array = np.asarray(item)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.tape.op("Constant", [], {"value": ir.tensor(array)})
        return self._constants[key]

    def _argument(self, item: Any) -> ir.Value | None:
        return item if item is None or isinstance(item, ir.Value) else self.constant(item)

    def cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """Casts ``value`` to ``dtype``."""
        return self.Cast(value, to=int(dtype))

    def function(
        self,
        name: str,
        inputs: Sequence[ir.Value],
        outputs: Sequence[ir.Value],
        attributes: Mapping[str, ir.AttributeType] | None = None,
        domain: str = DOMAIN,
    ) -> ir.Function:
        """Turns everything built so far into the body of the operator ``domain::name``.

        The body lets any host of the bundle's target run the graph; a host that has a kernel for the operator runs it
        instead, libziprerank for those of the domain ``ziprerank``.

        Args:
            name: The operator's name.
            inputs: Its inputs, in order.
            outputs: Its outputs, in order.
            attributes: The types of its attributes, by name.
            domain: The operator's domain.
        """
        # A runtime that inlines the body moves these names into the graph around it, so they must be unique there.
        for position, node in enumerate(self.tape.nodes):
            node.name = f"{name}/{position}_{node.op_type}"
            for result in node.outputs:
                result.name = f"{node.name}:{result.index()}"
        opsets = {"": OPSET, **({MICROSOFT: 1} if any(node.domain == MICROSOFT for node in self.tape.nodes) else {})}
        graph = ir.Graph(inputs, outputs, nodes=self.tape.nodes, opset_imports=opsets, name=name)
        parameters = [ir.Attr(attribute, kind, None) for attribute, kind in (attributes or {}).items()]
        return ir.Function(domain, name, graph=graph, attributes=parameters)


class GraphBuilder(Ops):
    """Builds one graph of a bundle: inputs, weights that stay in the checkpoint's files, outputs.

    Args:
        tensors: The weights by name.
        dtype: The dtype of the graph's activations.
    """

    def __init__(self, tensors: Tensors, dtype: ir.DataType) -> None:
        super().__init__()
        self.tensors = tensors
        self.dtype = dtype
        self._made: dict[Hashable, Any] = {}
        self._inputs: list[ir.Value] = []
        self._outputs: list[ir.Value] = []
        self._initializers: dict[str, ir.Value] = {}
        self._functions: dict[str, ir.Function] = {}

    def input(self, name: str, dtype: ir.DataType, shape: Sequence[int | str]) -> ir.Value:
        """Adds a graph input; strings in ``shape`` name dynamic dimensions."""
        value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))
        self._inputs.append(value)
        return value

    def output(self, value: ir.Value, name: str, dtype: ir.DataType, shape: Sequence[int | str]) -> None:
        """Makes ``value`` a graph output."""
        value.name, value.type, value.shape = name, ir.TensorType(dtype), ir.Shape(shape)
        self._outputs.append(value)

    def raw(self, name: str, shape: tuple[int, ...]) -> ir.Value:
        """Refers to a tensor in its file, in its stored dtype; its bytes are not read."""
        return self.external(self.tensors.tensor(name, shape))

    def external(self, tensor: Tensor) -> ir.Value:
        """Refers to a tensor of any safetensors file of the bundle."""
        if tensor.name not in self._initializers:
            const = ir.ExternalTensor(
                tensor.file.name,
                tensor.offset,
                tensor.length,
                tensor.dtype,
                shape=ir.Shape(tensor.shape),
                name=tensor.name,
            )
            self._initializers[tensor.name] = ir.Value(
                name=tensor.name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape), const_value=const
            )
        return self._initializers[tensor.name]

    def weight(self, name: str, *shape: int) -> ir.Value:
        """Refers to a tensor, cast to the graph's dtype.

        Runtimes fold the Cast once, when they create the session.
        """
        raw = self.raw(name, shape)
        return raw if raw.dtype == self.dtype else self.cast(raw, self.dtype)

    def call(self, function: ir.Function, *inputs: ir.Value, **attributes: float) -> ir.Value:
        """Calls an operator whose body goes into the model, and returns its first result."""
        return self.call_multi(function, *inputs, **attributes)[0]

    def call_multi(self, function: ir.Function, *inputs: ir.Value, **attributes: float) -> Sequence[ir.Value]:
        """Calls an operator whose body goes into the model."""
        self._functions.setdefault(function.name, function)
        count = len(function.outputs)
        return self.tape.op_multi_out(function.name, inputs, attributes, domain=function.domain, num_outputs=count)

    def once(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """Calls ``make`` the first time that ``key`` is asked for, and returns that result from then on."""
        if key not in self._made:
            self._made[key] = make()
        made: _T = self._made[key]
        return made

    def layer_norm(self, x: ir.Value, name: str, size: int) -> ir.Value:
        """LayerNorm over the last dimension."""
        scale, bias = self.weight(f"{name}.weight", size), self.weight(f"{name}.bias", size)
        return self.LayerNormalization(x, scale, bias, axis=-1, epsilon=LAYER_NORM_EPSILON)

    def rms_norm(self, x: ir.Value, name: str, size: int, epsilon: float) -> ir.Value:
        """RMSNorm over the last dimension, computed in float32."""
        return self.RMSNormalization(x, self.weight(f"{name}.weight", size), axis=-1, epsilon=epsilon)

    def model(self, name: str) -> ir.Model:
        """Returns the finished model, without metadata."""
        graph = ir.Graph(
            self._inputs,
            self._outputs,
            nodes=self.tape.nodes,
            initializers=list(self._initializers.values()),
            opset_imports={"": OPSET, MICROSOFT: 1, DOMAIN: 1},
            name=name,
        )
        return ir.Model(
            graph,
            ir_version=IR_VERSION,
            producer_name="ziprerank",
            functions=list(self._functions.values()),
        )
