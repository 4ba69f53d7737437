"""ziprerank::QueryImagePrune in plain ONNX Runtime sessions, against NumPy, in every type."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from ziprerank import _engine

TYPES: dict[str, tuple[int, Any]] = {
    "fp32": (TensorProto.FLOAT, np.float32),
    "fp16": (TensorProto.FLOAT16, np.float16),
    "bf16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16),
}


@dataclass(frozen=True)
class Case:
    pool: NDArray[Any]  # [R, L, H]
    rows: NDArray[np.int64]
    page_offsets: NDArray[np.int64]
    keep: NDArray[np.int64]
    text: NDArray[Any]  # [T, H]
    query_mask: NDArray[np.bool_]


def random_case(sizes: list[int], *, hidden: int = 96, text: int = 37, levels: int = 4, seed: int = 0) -> Case:
    random = np.random.default_rng(seed)
    visual = sum(sizes)
    return Case(
        pool=random.standard_normal((visual + 9, levels, hidden)),
        rows=random.permutation(visual + 9)[:visual].astype(np.int64),
        page_offsets=np.cumsum([0, *sizes]).astype(np.int64),
        keep=np.asarray([max(1, round(0.5 * size)) for size in sizes], np.int64),
        text=random.standard_normal((text, hidden)),
        query_mask=random.random(text) < 0.7,
    )


def session(precision: str) -> ort.InferenceSession:
    kind = TYPES[precision][0]
    inputs = [
        helper.make_tensor_value_info("pool", kind, ["R", "L", "H"]),
        helper.make_tensor_value_info("rows", TensorProto.INT64, ["N"]),
        helper.make_tensor_value_info("page_offsets", TensorProto.INT64, ["K1"]),
        helper.make_tensor_value_info("keep", TensorProto.INT64, ["K"]),
        helper.make_tensor_value_info("text", kind, ["T", "H"]),
        helper.make_tensor_value_info("query_mask", TensorProto.BOOL, ["T"]),
    ]
    output = helper.make_tensor_value_info("kept", TensorProto.INT64, ["M"])
    node = helper.make_node("QueryImagePrune", [value.name for value in inputs], ["kept"], domain="ziprerank")
    model = helper.make_model(
        helper.make_graph([node], "prune", inputs, [output]),
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("ziprerank", 1)],
        ir_version=10,
    )
    options = ort.SessionOptions()
    options.log_severity_level = 4  # the errors below are wanted
    options.register_custom_ops_library(_engine.library())
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def prune(case: Case, precision: str) -> NDArray[np.int64]:
    kind, dtype = TYPES[precision]
    feeds = {}
    for name, value in vars(case).items():
        if name not in ("pool", "text"):
            feeds[name] = ort.OrtValue.ortvalue_from_numpy(value)
            continue
        data = np.ascontiguousarray(value.astype(dtype))
        if precision == "bf16":
            feeds[name] = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(data.view(np.uint16), kind)
        else:
            feeds[name] = ort.OrtValue.ortvalue_from_numpy(data)
    return session(precision).run_with_ort_values(None, feeds)[0].numpy()


def relevance(case: Case, precision: str) -> NDArray[np.float64]:
    """The specification in double, on the values as the type holds them."""
    dtype = TYPES[precision][1]
    visual = case.pool[case.rows, 0].astype(dtype).astype(np.float64)
    text = case.text[case.query_mask].astype(dtype).astype(np.float64)
    visual /= np.maximum(np.linalg.norm(visual, axis=1, keepdims=True), 1e-12)
    text /= np.maximum(np.linalg.norm(text, axis=1, keepdims=True), 1e-12)
    return np.asarray((visual @ text.T).max(axis=1))


def check(case: Case, precision: str, kept: NDArray[np.int64]) -> None:
    """Kept sets are compared by the scores they select; only scores equal but for rounding may change places."""
    scores = relevance(case, precision)
    assert len(kept) == case.keep.sum()
    assert (np.diff(kept) > 0).all()
    for page, (first, last) in enumerate(zip(case.page_offsets[:-1], case.page_offsets[1:], strict=True)):
        own = kept[(kept >= first) & (kept < last)]
        assert len(own) == case.keep[page]
        want = np.sort(scores[first:last])[::-1][: case.keep[page]]
        np.testing.assert_allclose(np.sort(scores[own])[::-1], want, atol=2e-6)


@pytest.mark.parametrize("precision", TYPES)
@pytest.mark.parametrize(
    ("sizes", "hidden", "text"),
    [([1], 1, 1), ([5, 1, 300], 96, 37), ([97, 96, 95], 256, 150), ([64] * 20, 65, 16), ([40], 1024, 700)],
)
def test_against_numpy(precision: str, sizes: list[int], hidden: int, text: int) -> None:
    case = random_case(sizes, hidden=hidden, text=text)
    case.query_mask[0] = True
    check(case, precision, prune(case, precision))


@pytest.mark.parametrize("precision", TYPES)
def test_ties_go_to_the_lower_index(precision: str) -> None:
    case = random_case([50, 30])
    pool = case.pool.copy()
    pool[:, 0] = np.round(pool[0, 0] * 4) / 4 + 0.25  # one feature for all rows
    case = replace(case, pool=pool, keep=np.asarray([7, 30], np.int64))
    assert prune(case, precision).tolist() == [*range(7), *range(50, 80)]


@pytest.mark.parametrize("precision", TYPES)
def test_zero_rows_have_similarity_zero(precision: str) -> None:
    """A zero row stands above all negative similarities and below all positive ones."""
    case = random_case([6], hidden=8, text=1)
    pool = case.pool.copy()
    text = case.text.copy()
    text[0] = [1, 0, 0, 0, 0, 0, 0, 0]
    for token, first in enumerate([-1.0, 2.0, 0.0, -2.0, 1.0, -3.0]):
        pool[case.rows[token], 0] = [first, *([0.0] * 7)] if first == 0 else [first, *([1.0] * 7)]
    case = replace(case, pool=pool, text=text, query_mask=np.asarray([True]), keep=np.asarray([3], np.int64))
    assert prune(case, precision).tolist() == [1, 2, 4]


@pytest.mark.parametrize("precision", TYPES)
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"nan": True}, r"visual token 2 of page 1 \(pool row \d+\) has features that are not finite"),
        ({"rows": [0, 1, 99, 3, 4, 5]}, "visual token 2 of page 0 points to pool row 99, the pool has 15"),
        ({"keep": [1, 4]}, "keep is 4 for page 1, which has 3 visual tokens"),
        ({"keep": [0, 1]}, "keep is 0 for page 0"),
        ({"page_offsets": [0, 6, 6]}, "page_offsets is not ascending at page 1: 6 then 6"),
        ({"page_offsets": [0, 3, 5]}, "page_offsets must run from 0 to 6"),
        ({"page_offsets": [0, 6]}, "page_offsets has 2 entries for 2 pages"),
        ({"query_mask": [False] * 37}, "query_mask selects none of the 37 text tokens"),
        ({"query_mask": [True] * 36}, "they must agree"),
    ],
)
def test_bad_data_is_refused(precision: str, change: dict[str, Any], text: str) -> None:
    case = random_case([3, 3])
    if "nan" in change:
        case.pool[case.rows[5], 0, 17] = np.nan
    arrays = {name: np.asarray(value, getattr(case, name).dtype) for name, value in change.items() if name != "nan"}
    with pytest.raises(Exception, match=f"QueryImagePrune: .*{text}"):
        prune(replace(case, **arrays), precision)
