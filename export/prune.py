"""The body of ``ziprerank::QueryImagePrune`` in standard ONNX operators (docs/bundle.md defines the operator).

With this body any ONNX runtime can run a bundle; ``libziprerank`` replaces it by the fused kernel. Pages differ in
size, so they are padded to the longest one, ``[K, longest]``, and all are selected from at once, without a loop.
"""

from __future__ import annotations

import onnx_ir as ir

from .graph import Ops

FLOAT, INT64 = ir.DataType.FLOAT, ir.DataType.INT64
OP_NAME = "QueryImagePrune"
NORM_FLOOR = 1e-12
# below every cosine, so that masked text tokens and padding lose against any real token
MASKED, PADDING = -2.0, -3.0


def prune_function() -> ir.Function:
    """Builds the function ``QueryImagePrune``.

    ``(pool [R,L,H], rows [N], page_offsets [K+1], keep [K], text [T,H], query_mask [T]) -> kept [M] int64``
    """
    op = Ops()
    pool, rows, offsets, keep, text, mask = inputs = [
        ir.Value(name=f"{OP_NAME}/{name}") for name in ("pool", "rows", "page_offsets", "keep", "text", "query_mask")
    ]
    kept = _select(op, _relevance(op, pool, rows, text, mask), offsets, keep)
    return op.function(OP_NAME, inputs, [kept])


def _relevance(op: Ops, pool: ir.Value, rows: ir.Value, text: ir.Value, mask: ir.Value) -> ir.Value:
    """Computes each visual token's largest cosine similarity with the text tokens in the mask: ``[N]`` float32.

    Only the text is normalised before the product. Dividing by a visual token's norm afterwards does not change which
    text token is its best, and saves a copy of all visual tokens.
    """
    levels, hidden = op.Shape(pool, start=1, end=2), op.Shape(pool, start=2, end=3)
    by_level = op.Reshape(pool, op.Concat([-1], hidden, axis=0))  # [R * L, H], no copy
    visual = op.cast(op.Gather(by_level, op.Mul(rows, levels)), FLOAT)  # [N, H]
    wide = op.cast(text, FLOAT)
    similarity = op.MatMul(visual, op.Transpose(op.Div(wide, norm(op, wide)), perm=[1, 0]))  # [N, T]
    # before the division a dot product can be far below MASKED, so the mask is applied afterwards
    cosine = op.Div(similarity, norm(op, visual))
    return op.ReduceMax(op.Where(mask, cosine, MASKED), [1], keepdims=0)


def norm(op: Ops, x: ir.Value) -> ir.Value:
    """Returns the norm of each row of ``x [rows, H]``, at least `NORM_FLOOR`: ``[rows, 1]``."""
    return op.Max(op.Sqrt(op.ReduceSumSquare(x, [1], keepdims=1)), NORM_FLOOR)


def _select(op: Ops, relevance: ir.Value, offsets: ir.Value, keep: ir.Value) -> ir.Value:
    """Selects each page's ``keep`` best tokens: ``[M]``, ascending indices into all visual tokens."""
    starts, ends = op.Slice(offsets, [0], [-1], [0]), op.Slice(offsets, [1], [2**62], [0])
    lengths = op.Sub(ends, starts)  # [K]
    longest, most = op.ReduceMax(lengths, keepdims=0), op.ReduceMax(keep, keepdims=1)
    column = op.Unsqueeze(op.Range(0, longest, 1), [0])  # [1, longest]
    index = op.Min(op.Add(op.Unsqueeze(starts, [1]), column), op.Sub(op.Size(relevance), 1))
    padded = op.Where(op.Less(column, op.Unsqueeze(lengths, [1])), op.Gather(relevance, index), PADDING)
    # TopK breaks ties by the lower index
    _, best = op.multi("TopK", 2, padded, most, axis=1, largest=1, sorted=1)  # [K, most]
    slot = op.Range(0, op.Squeeze(most, [0]), 1)
    wanted = op.Where(op.Less(op.Unsqueeze(slot, [0]), op.Unsqueeze(keep, [1])), best, longest)
    # back into page order; unwanted slots sort behind every real column
    ascending, _ = op.multi("TopK", 2, wanted, most, axis=1, largest=0, sorted=1)

    # slot m of the output belongs to the page whose kept tokens it falls among
    kept_ends = op.CumSum(keep, 0)
    m = op.Range(0, op.ReduceSum(keep, keepdims=0), 1)
    page = op.ReduceSum(
        op.cast(op.GreaterOrEqual(op.Unsqueeze(m, [1]), op.Unsqueeze(kept_ends, [0])), INT64), [1], keepdims=0
    )
    within = op.Sub(m, op.Gather(op.Sub(kept_ends, keep), page))
    flat = op.Reshape(ascending, [-1])
    chosen = op.Gather(flat, op.Add(op.Mul(page, most), within))
    return op.Add(chosen, op.Gather(starts, page))
