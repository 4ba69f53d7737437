"""The attention operators against NumPy: our kernels in plain ONNX Runtime sessions, and the bodies for other hosts."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from ziprerank import _engine
from ziprerank.export.attention import causal_function, full_function
from ziprerank.export.graph import DOMAIN, IR_VERSION, MICROSOFT, OPSET

Array = NDArray[np.float32]


def session(*, causal: bool, op_library: bool, **attributes: int) -> ort.InferenceSession:
    """A graph that is just the operator, with its body."""
    function = causal_function() if causal else full_function()
    shape = ir.Shape(["B", "S", None])
    inputs = [ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=shape) for name in "qkv"]
    node = ir.node(function.name, inputs, attributes, domain=DOMAIN)
    (out,) = node.outputs
    out.name, out.type, out.shape = "out", ir.TensorType(ir.DataType.FLOAT), shape
    opsets = {"": OPSET, DOMAIN: 1, MICROSOFT: 1}
    graph = ir.Graph(inputs, [out], nodes=[node], opset_imports=opsets, name="attention")
    model = ir.to_proto(ir.Model(graph, ir_version=IR_VERSION, functions=[function]))
    options = ort.SessionOptions()
    options.log_severity_level = 4  # the errors below are wanted
    if op_library:
        options.register_custom_ops_library(_engine.library())
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def random_inputs(length: int, heads: int, kv_heads: int, head_dim: int, batch: int = 1) -> dict[str, Array]:
    random = np.random.default_rng(length)
    sizes = {"q": heads, "k": kv_heads, "v": kv_heads}
    return {
        name: random.standard_normal((batch, length, count * head_dim)).astype(np.float32)
        for name, count in sizes.items()
    }


def by_numpy(inputs: dict[str, Array], heads: int, kv_heads: int, *, causal: bool) -> NDArray[np.float64]:
    """softmax(q k^T / sqrt(head_dim)) v in double."""
    q, k, v = (inputs[name].astype(np.float64) for name in "qkv")
    batch, length, width = q.shape
    head_dim = width // heads

    def split(x: NDArray[np.float64], count: int) -> NDArray[np.float64]:
        return np.repeat(x.reshape(batch, length, count, head_dim).transpose(0, 2, 1, 3), heads // count, axis=1)

    scores = split(q, heads) @ split(k, kv_heads).transpose(0, 1, 3, 2) / np.sqrt(head_dim)
    if causal:
        scores = np.where(np.tril(np.ones((length, length), bool)), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    attended = weights / weights.sum(axis=-1, keepdims=True) @ split(v, kv_heads)
    return np.asarray(attended.transpose(0, 2, 1, 3).reshape(batch, length, width))


@pytest.mark.parametrize("op_library", [True, False], ids=["kernel", "body"])
@pytest.mark.parametrize(("length", "heads", "head_dim"), [(1, 1, 16), (333, 3, 64), (130, 2, 24)])
@pytest.mark.parametrize("batch", [1, 2])
def test_full_attention(op_library: bool, length: int, heads: int, head_dim: int, batch: int) -> None:
    inputs = random_inputs(length, heads, heads, head_dim, batch)
    (out,) = session(causal=False, op_library=op_library, heads=heads).run(None, inputs)
    np.testing.assert_allclose(out, by_numpy(inputs, heads, heads, causal=False), atol=5e-6)


@pytest.mark.parametrize("op_library", [True, False], ids=["kernel", "body"])
@pytest.mark.parametrize(
    ("length", "heads", "kv_heads", "head_dim"), [(1, 1, 1, 16), (700, 1, 1, 256), (333, 4, 2, 64), (97, 6, 1, 32)]
)
def test_causal_attention(op_library: bool, length: int, heads: int, kv_heads: int, head_dim: int) -> None:
    inputs = random_inputs(length, heads, kv_heads, head_dim)
    (out,) = session(causal=True, op_library=op_library, heads=heads, kv_heads=kv_heads).run(None, inputs)
    np.testing.assert_allclose(out, by_numpy(inputs, heads, kv_heads, causal=True), atol=5e-6)


def test_no_rows() -> None:
    inputs = random_inputs(0, 2, 1, 16)
    (out,) = session(causal=True, op_library=True, heads=2, kv_heads=1).run(None, inputs)
    assert out.shape == (1, 0, 32)


@pytest.mark.parametrize(
    ("attributes", "change", "text"),
    [
        ({"heads": 3, "kv_heads": 2}, {}, "heads is 3, must be a multiple of kv_heads, 2"),
        ({"heads": 0, "kv_heads": 1}, {}, "heads is 0, must be at least 1"),
        ({"heads": 2, "kv_heads": 2}, {}, r"q is \[1, 5, 32\], k \[1, 5, 16\] and v \[1, 5, 16\]: with 2 heads and 2"),
        ({"heads": 2, "kv_heads": 1}, {"v": (1, 4, 16)}, r"v \[1, 4, 16\]"),
        ({"heads": 2, "kv_heads": 1}, {"q": (1, 5, 33)}, r"q is \[1, 5, 33\]"),
    ],
)
def test_what_does_not_fit_is_refused(attributes: dict[str, int], change: dict[str, Any], text: str) -> None:
    inputs = random_inputs(5, 2, 1, 16)
    inputs |= {name: np.zeros(shape, np.float32) for name, shape in change.items()}
    with pytest.raises(Exception, match=f"CausalAttention: .*{text}"):
        session(causal=True, op_library=True, **attributes).run(None, inputs)
