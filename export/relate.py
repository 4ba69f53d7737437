"""``relate.onnx``: pages and a text -> how well they match by late interaction (docs/bundle.md).

Symbols: R pool rows, L feature levels, H hidden size, K pages, N visual tokens, T text tokens.
"""

from __future__ import annotations

import onnx_ir as ir

from .checkpoint import Tensors
from .config import EMBEDDINGS
from .lowering import Lowering, ModelBuilder
from .prune import PADDING, norm

FLOAT, INT64 = ir.DataType.FLOAT, ir.DataType.INT64


def build_relate(tensors: Tensors, lowering: Lowering) -> ir.Model:
    """Builds late interaction (MaxSim, Khattab and Zaharia 2020) on the vectors that pruning compares.

    A page's relevance is the sum over the text's tokens of the largest cosine of the token's embedding with one of the
    page's visual tokens, computed in float32 as `ziprerank.kernels.reference.relevance` defines the cosine. Pages
    differ in size, so they are padded to the longest one and all reduced at once.

    Args:
        tensors: The checkpoint's weights, of which the graph reads the token embeddings alone.
        lowering: How the graph is written down.
    """
    config, levels, dtype = tensors.config.decoder, tensors.config.levels, lowering.dtype
    op = ModelBuilder(tensors, lowering)
    pool = op.input("pool", dtype, ["R", levels, config.hidden_size])
    rows = op.input("rows", INT64, ["N"])
    offsets = op.input("page_offsets", INT64, ["K+1"])
    text_ids = op.input("text_ids", INT64, ["T"])

    table = op.raw(EMBEDDINGS, (config.vocab_size, config.hidden_size))
    # rounded as rerank.onnx rounds the text before it prunes
    text = op.cast(op.cast(op.Gather(table, text_ids), dtype), FLOAT)  # [T, H]
    by_level = op.Reshape(pool, [-1, config.hidden_size])  # [R * L, H], no copy
    visual = op.cast(op.Gather(by_level, op.Mul(rows, levels)), FLOAT)  # [N, H]
    cosine = op.Div(op.MatMul(visual, op.Transpose(op.Div(text, norm(op, text)), perm=[1, 0])), norm(op, visual))

    starts, ends = op.Slice(offsets, [0], [-1], [0]), op.Slice(offsets, [1], [2**62], [0])
    lengths = op.Unsqueeze(op.Sub(ends, starts), [1])  # [K, 1]
    # TopK and not ReduceMax, which needs cuDNN for integers on a GPU
    longest, _ = op.multi("TopK", 2, op.Reshape(lengths, [-1]), [1], axis=0, largest=1, sorted=0)
    column = op.Unsqueeze(op.Range(0, op.Squeeze(longest, [0]), 1), [0])  # [1, longest]
    index = op.Min(op.Add(op.Unsqueeze(starts, [1]), column), op.Sub(op.Size(rows), 1))
    padded = op.Where(op.Unsqueeze(op.Less(column, lengths), [2]), op.Gather(cosine, index), PADDING)
    best = op.ReduceMax(padded, [1], keepdims=0)  # [K, T]
    op.output(op.ReduceSum(best, [1], keepdims=0), "relevance", FLOAT, ["K"])
    return op.model("relate")
