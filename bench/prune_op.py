"""Measures the fused pruning operator against its body in standard operators, interleaved in one ONNX Runtime.

    python -m bench.prune_op OUT.jsonl

The inputs are 20 pages of 800 visual tokens and 150 text tokens in float32, at keep ratio 0.5.
``gemm_share`` is the time of NumPy's GEMM of the same shape, [tokens, hidden] x [hidden, text], divided by the
operator's time in the same run.
At 1, gathering, normalising, the maximum and the selection would cost nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from ziprerank._engine import library
from ziprerank.comparison import machine
from ziprerank.export.graph import DOMAIN, IR_VERSION, OPSET
from ziprerank.export.prune import OP_NAME, prune_function

PAGES, TOKENS, TEXT, LEVELS, KEEP_RATIO = 20, 800, 150, 4, 0.5
ROUNDS = 15
INPUTS = (
    ("pool", ir.DataType.FLOAT, ["R", "L", "H"]),
    ("rows", ir.DataType.INT64, ["N"]),
    ("page_offsets", ir.DataType.INT64, ["K+1"]),
    ("keep", ir.DataType.INT64, ["K"]),
    ("text", ir.DataType.FLOAT, ["T", "H"]),
    ("query_mask", ir.DataType.BOOL, ["T"]),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    rows = [measure(hidden) for hidden in (256, 4096)]
    arguments.out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def measure(hidden: int) -> dict[str, object]:
    """Returns the row of one hidden size: milliseconds of operator, body and GEMM."""
    rng = np.random.default_rng(0)
    count = PAGES * TOKENS
    pool = rng.standard_normal((count, LEVELS, hidden), dtype=np.float32)
    rows = rng.permutation(count)
    compared = rng.standard_normal((TEXT, hidden), dtype=np.float32)
    feed = {
        "pool": pool,
        "rows": rows,
        "page_offsets": np.arange(PAGES + 1) * TOKENS,
        "keep": np.full(PAGES, round(KEEP_RATIO * TOKENS)),
        "text": compared,
        "query_mask": np.ones(TEXT, bool),
    }
    fused, body = session(op_library=library()), session()
    np.testing.assert_array_equal(fused.run(None, feed)[0], body.run(None, feed)[0])
    visual, text = np.ascontiguousarray(pool[:, 0]), np.ascontiguousarray(compared.T)
    systems: dict[str, Callable[[], object]] = {
        "fused": lambda: fused.run(None, feed),
        "body": lambda: body.run(None, feed),
        "gemm": lambda: visual @ text,
    }
    samples: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(ROUNDS):
        for name, run in systems.items():
            started = time.perf_counter()
            run()
            samples[name].append((time.perf_counter() - started) * 1e3)
    median = {name: float(np.median(values)) for name, values in samples.items()}
    row = {
        "what": "prune operator",
        "hidden": hidden,
        "visual_tokens": count,
        "text_tokens": TEXT,
        **{f"{name}_ms": machine.quantiles(values) for name, values in samples.items()},
        "speedup_over_body": round(median["body"] / median["fused"], 2),
        "gemm_share": round(median["gemm"] / median["fused"], 2),
        **machine.describe(),
    }
    print(json.dumps(row, indent=1))
    return row


def session(op_library: str | None = None) -> ort.InferenceSession:
    """Opens a graph that holds only the operator; without ``op_library`` its body of standard operators runs."""
    inputs = [ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape)) for name, dtype, shape in INPUTS]
    node = ir.node(OP_NAME, inputs, domain=DOMAIN)
    (kept,) = node.outputs
    kept.name, kept.type, kept.shape = "kept", ir.TensorType(ir.DataType.INT64), ir.Shape(["M"])
    graph = ir.Graph(inputs, [kept], nodes=[node], opset_imports={"": OPSET, DOMAIN: 1}, name="prune")
    model = ir.to_proto(ir.Model(graph, ir_version=IR_VERSION, functions=[prune_function()]))
    options = ort.SessionOptions()
    # a thread pool that spins while idle would take a core from the system that runs next
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if op_library is not None:
        options.register_custom_ops_library(op_library)
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
