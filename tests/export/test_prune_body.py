"""The operator's body in standard ONNX operators against the specification in plain PyTorch."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from ziprerank.export.graph import DOMAIN, IR_VERSION, OPSET
from ziprerank.export.prune import OP_NAME, prune_function
from ziprerank.kernels import reference

INPUTS = {
    "pool": (ir.DataType.FLOAT, ["R", "L", "H"]),
    "rows": (ir.DataType.INT64, ["N"]),
    "page_offsets": (ir.DataType.INT64, ["K+1"]),
    "keep": (ir.DataType.INT64, ["K"]),
    "text": (ir.DataType.FLOAT, ["T", "H"]),
    "query_mask": (ir.DataType.BOOL, ["T"]),
}


@pytest.fixture(scope="module")
def body() -> ort.InferenceSession:
    """A graph of only the operator. Without libziprerank the runtime inlines the body."""
    inputs = [
        ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape)) for name, (dtype, shape) in INPUTS.items()
    ]
    node = ir.node(OP_NAME, inputs, domain=DOMAIN)
    (kept,) = node.outputs
    kept.name, kept.type, kept.shape = "kept", ir.TensorType(ir.DataType.INT64), ir.Shape(["M"])
    opsets = {"": OPSET, DOMAIN: 1}
    graph = ir.Graph(inputs, [kept], nodes=[node], opset_imports=opsets, name="prune")
    model = ir.to_proto(ir.Model(graph, ir_version=IR_VERSION, functions=[prune_function()]))
    onnx.checker.check_model(model, full_check=True)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def run(body: ort.InferenceSession, visual, text, counts, keep, mask=None, levels=3, seed=0) -> np.ndarray:
    """Puts ``visual`` into a pool of noise, at level 0 of random rows, and prunes."""
    rng = np.random.default_rng(seed)
    total, hidden = visual.shape
    pool = rng.standard_normal((total + 7, levels, hidden)).astype(np.float32)
    rows = rng.permutation(total + 7)[:total]
    pool[rows, 0] = visual
    mask = np.ones(len(text), bool) if mask is None else mask
    offsets = np.cumsum([0, *counts])
    feed = {
        "pool": pool,
        "rows": rows,
        "page_offsets": offsets,
        "keep": np.array(keep),
        "text": text,
        "query_mask": mask,
    }
    return body.run(None, feed)[0]


def expected(visual, text, counts, keep) -> np.ndarray:
    offsets = torch.tensor(np.cumsum([0, *counts]))
    return reference.prune(torch.tensor(visual), torch.tensor(text), offsets, torch.tensor(keep)).numpy()


@pytest.mark.parametrize("counts", [[1], [5], [64], [3, 1, 40, 17], [33] * 20, [200, 1, 1, 7]])
@pytest.mark.parametrize("keep_ratio", [1.0, 0.5, 0.25, 1e-9])
def test_equals_the_specification(body: ort.InferenceSession, counts, keep_ratio) -> None:
    rng = np.random.default_rng(sum(counts))
    visual = rng.standard_normal((sum(counts), 48)).astype(np.float32)
    text = rng.standard_normal((9, 48)).astype(np.float32)
    keep = [reference.keep_count(count, keep_ratio) for count in counts]
    np.testing.assert_array_equal(run(body, visual, text, counts, keep), expected(visual, text, counts, keep))


def test_ties_go_to_the_lower_index(body: ort.InferenceSession) -> None:
    visual = np.tile(np.eye(4, dtype=np.float32)[[0, 1]], (6, 1))  # cosines with the text: 1, 0, 1, 0, ...
    text = np.eye(4, dtype=np.float32)[:1]
    np.testing.assert_array_equal(run(body, visual, text, [12], [4]), [0, 2, 4, 6])
    np.testing.assert_array_equal(run(body, visual, text, [12], [8]), [0, 1, 2, 3, 4, 6, 8, 10])
    np.testing.assert_array_equal(run(body, np.ones((12, 4), np.float32), text, [5, 7], [2, 3]), [0, 1, 5, 6, 7])


def test_a_zero_row_has_similarity_zero(body: ort.InferenceSession) -> None:
    visual = np.array([[-1, 0], [0, 0], [1, 1], [-1, 0.1]], np.float32)
    text = np.array([[1, 0]], np.float32)
    np.testing.assert_array_equal(run(body, visual, text, [4], [2]), [1, 2])


def test_the_length_of_a_row_does_not_matter(body: ort.InferenceSession) -> None:
    visual = np.array([[1000, 999], [1e-6, 0], [-5000, 0], [-1e-3, 0]], np.float32)
    text = np.array([[3, 0]], np.float32)
    np.testing.assert_array_equal(run(body, visual, text, [4], [1]), [1])
    np.testing.assert_array_equal(run(body, visual, text, [4], [3]), [0, 1, 2])


def test_only_masked_in_text_counts(body: ort.InferenceSession) -> None:
    visual = np.eye(3, dtype=np.float32)
    text = np.eye(3, dtype=np.float32)
    for token in range(3):
        mask = np.arange(3) == token
        np.testing.assert_array_equal(run(body, visual, text, [3], [1], mask), [token])


@pytest.mark.parametrize(
    ("tokens", "ratio", "count"), [(1025, 0.5, 512), (1027, 0.5, 514), (1, 0.25, 1), (800, 0.25, 200)]
)
def test_keep_counts_round_half_to_even(tokens: int, ratio: float, count: int) -> None:
    assert reference.keep_count(tokens, ratio) == count
