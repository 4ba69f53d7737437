"""What a graph computes, as a digest: the same for the same operators and weights, whatever wrote the file.

Names of values, the order of attributes and the bytes of the file depend on the version of the library that writes it,
so they are left out: values are numbered in the order in which they appear.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

_BLOCK = 1 << 22  # bytes of a weight that are read at a time

_Value = Callable[[onnx.TensorProto], Any]


def graph_digest(model: ir.Model) -> str:
    """Computes SHA-256 over what a graph computes, with weights by their places in the bundle's files; 64 hex digits.

    Metadata are left out.
    """
    return _digest(_content(model, _place))


def values_digest(model: ir.Model, folder: Path) -> str:
    """Computes SHA-256 over what a graph computes, with weights by their values; 64 hex digits.

    Two graphs have the same digest if they compute the same, wherever their weights are stored.

    Args:
        model: The graph.
        folder: Where the files of its weights are.
    """

    def value(weight: onnx.TensorProto) -> str:
        place = {entry.key: entry.value for entry in weight.external_data}
        return _bytes_digest(folder / place["location"], int(place["offset"]), int(place["length"]))

    return _digest(_content(model, value))


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _bytes_digest(file: Path, offset: int, length: int) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        stream.seek(offset)
        for start in range(0, length, _BLOCK):
            digest.update(stream.read(min(_BLOCK, length - start)))
    return digest.hexdigest()


def _place(weight: onnx.TensorProto) -> Any:
    return sorted((entry.key, entry.value) for entry in weight.external_data)


def _content(model: ir.Model, value: _Value) -> Any:
    proto = ir.to_proto(model)
    graph = proto.graph
    return [
        sorted((opset.domain, opset.version) for opset in proto.opset_import),
        [_signature(tensor) for tensor in (*graph.input, *graph.output)],
        [
            (function.domain, function.name, _body(function, function.input, function.output))
            for function in proto.functions
        ],
        _body(
            graph,
            [*(tensor.name for tensor in graph.input), *(weight.name for weight in graph.initializer)],
            [tensor.name for tensor in graph.output],
        ),
        [(weight.name, weight.data_type, list(weight.dims), value(weight)) for weight in graph.initializer],
    ]


def _signature(tensor: onnx.ValueInfoProto) -> Any:
    kind = tensor.type.tensor_type
    shape = [size.dim_param or size.dim_value for size in kind.shape.dim]
    return tensor.name, kind.elem_type, shape


def _body(graph: onnx.GraphProto | onnx.FunctionProto, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    numbers: dict[str, int] = {"": -1}  # an optional input that is left out

    def numbered(names: Iterable[str]) -> list[int]:
        return [numbers.setdefault(name, len(numbers)) for name in names]

    read = numbered(inputs)
    nodes = [
        (node.domain, node.op_type, numbered(node.input), numbered(node.output), _attributes(node))
        for node in graph.node
    ]
    return [read, nodes, numbered(outputs)]


def _attributes(node: onnx.NodeProto) -> Any:
    return sorted((attribute.name, _attribute(attribute)) for attribute in node.attribute)


def _attribute(attribute: onnx.AttributeProto) -> Any:
    if attribute.ref_attr_name:
        return attribute.ref_attr_name
    found = onnx.helper.get_attribute_value(attribute)
    if isinstance(found, onnx.TensorProto):
        array = onnx.numpy_helper.to_array(found)
        return found.data_type, array.shape, array.tobytes().hex()
    if isinstance(found, bytes):
        return found.decode()
    return list(found) if isinstance(found, Sequence) and not isinstance(found, str) else found
