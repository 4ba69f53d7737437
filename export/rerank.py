"""``rerank.onnx``: a window of pages -> letter logits, or log-odds: prune, pack, decode, score (docs/bundle.md).

Symbols: R pool rows, L feature levels, H hidden size, K pages, N visual tokens, M kept ones, T text tokens, S = T + M.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from .attention import attend_last
from .checkpoint import Tensor, Tensors
from .config import EMBEDDINGS, DecoderConfig
from .lowering import Lowering, ModelBuilder
from .prompt import Answers
from .prune import prune_function
from .rotary import rotary_frequencies

FLOAT, INT64, BOOL = ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.BOOL
PREFIX = "model.language_model"
LETTER_ROWS = "letters.weight"
"""The output head's rows for the 20 letters, in a bundle that stores no others."""
YES_NO_ROW = "yes_no.weight"
"""The output head's row for yes, less that for no."""


def yes_no_row(tensors: Tensors, answers: Answers) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Returns the row ``[1, H]`` whose product is the log-odds of yes, subtracted in float32; nothing for letters."""
    if answers.letters:
        return {}
    config = tensors.config.decoder
    head = tensors.tensor(tensors.head_name, (config.vocab_size, config.hidden_size)).numpy()
    yes, no = (head[index].astype(np.float32) for index in (answers.yes, answers.no))
    return {YES_NO_ROW: (yes - no)[None]}


def build_rerank(tensors: Tensors, derived: Mapping[str, Tensor], answers: Answers, lowering: Lowering) -> ir.Model:
    """Builds the pruning decoder as an ONNX model.

    Args:
        tensors: The checkpoint's weights.
        derived: Weights that the export computed: `yes_no_row`, where the answers are yes and no.
        answers: The tokens whose logits are the scores.
        lowering: How the graph is written down.
    """
    config, levels, dtype = tensors.config.decoder, tensors.config.levels, lowering.dtype
    op = ModelBuilder(tensors, lowering)
    pool = op.input("pool", dtype, ["R", levels, config.hidden_size])
    rows = op.input("rows", INT64, ["N"])
    page_offsets = op.input("page_offsets", INT64, ["K+1"])
    keep = op.input("keep", INT64, ["K"])
    text_ids = op.input("text_ids", INT64, ["T"])
    query_mask = op.input("query_mask", BOOL, ["T"])
    text_positions = op.input("text_positions", INT64, [3, "T"])
    visual_positions = op.input("visual_positions", INT64, [3, "N"])
    layout = op.input("layout", INT64, ["S"])

    table = op.raw(EMBEDDINGS, (config.vocab_size, config.hidden_size))
    text = op.cast(op.Gather(table, text_ids), dtype)  # [T, H]; gathered first, so that only these rows are cast
    kept = op.call(prune_function(), pool, rows, page_offsets, keep, text, query_mask)  # [M]

    first_level = op.Mul(op.Gather(rows, kept), levels)
    by_level = op.Reshape(pool, [-1, config.hidden_size])  # [R * L, H]

    def pack(level: int, text_rows: ir.Value) -> ir.Value:
        """Puts text rows and one level of the kept visual tokens in the order of the sequence: ``[S, H]``."""
        visual = op.Gather(by_level, op.Add(first_level, level))
        return op.Gather(op.Concat(text_rows, visual, axis=0), layout)

    positions = op.Concat(text_positions, op.Gather(visual_positions, kept, axis=1), axis=1)
    cos, sin = _rotary(op, config, op.Gather(positions, layout, axis=1))

    x = pack(0, text)
    no_text = op.Expand(op.cast(op.constant(0.0), dtype), op.Shape(text))  # DeepStack adds nothing to text tokens
    for layer in range(config.layers):
        last = layer == config.layers - 1
        x = _layer(op, config, f"{PREFIX}.layers.{layer}", x, cos, sin, last_only=last)
        if layer + 1 < levels and not last:  # the last position is text
            x = op.Add(x, pack(layer + 1, no_text))

    x = op.rms_norm(x, f"{PREFIX}.norm", config.hidden_size, config.norm_eps)  # [1, H]
    if not answers.letters:
        head = op.external(derived[YES_NO_ROW])  # [1, H]
    elif LETTER_ROWS in tensors.tensors:
        head = op.cast(op.raw(LETTER_ROWS, (len(answers.letters), config.hidden_size)), FLOAT)  # [20, H]
    else:
        table = op.raw(tensors.head_name, (config.vocab_size, config.hidden_size))
        head = op.cast(op.Gather(table, list(answers.letters)), FLOAT)  # [20, H]
    logits = op.Gemm(op.cast(x, FLOAT), head, transB=1)  # in float32: half precisions tie close pages
    op.output(op.Reshape(logits, [-1]), "scores", FLOAT, [answers.most_pages])
    op.output(op.Identity(kept), "kept", INT64, ["M"])
    return op.model("rerank")


def _rotary(op: ModelBuilder, config: DecoderConfig, positions: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Returns cos and sin ``[1, S, head_dim / 2]`` of interleaved M-RoPE for ``positions [3, S]``; angles in float32.

    Frequency i multiplies the row if i % 3 == 1 and i < 3 * sections[1], the column if i % 3 == 2 and
    i < 3 * sections[2], else time (``mrope_interleaved`` in the configuration of transformers' Qwen3-VL).
    """
    half = config.head_dim // 2
    axis = np.zeros(half, np.int64)
    for dimension in (1, 2):
        axis[dimension : 3 * config.rope_sections[dimension] : 3] = dimension
    frequencies = rotary_frequencies(config.rope_theta, config.head_dim)
    by_frequency = op.Transpose(op.Gather(op.cast(positions, FLOAT), axis, axis=0), perm=[1, 0])  # [S, half]
    angles = op.Unsqueeze(op.Mul(by_frequency, frequencies), [0])
    return op.cast(op.Cos(angles), op.dtype), op.cast(op.Sin(angles), op.dtype)


def _last(op: ModelBuilder, x: ir.Value, axis: int) -> ir.Value:
    return op.Slice(x, [-1], [2**62], [axis])


def _layer(
    op: ModelBuilder,
    config: DecoderConfig,
    name: str,
    x: ir.Value,
    cos: ir.Value,
    sin: ir.Value,
    *,
    last_only: bool,
) -> ir.Value:
    """Applies one decoder layer to ``x [S, H]``.

    With ``last_only`` the result is ``[1, H]``: only the last position is read after the last layer, so only its query,
    output projection and MLP are computed; keys and values are those of all positions.
    """
    width, wide, kv_wide = config.hidden_size, config.heads * config.head_dim, config.kv_heads * config.head_dim

    def turned(source: ir.Value, part: str, count: int, cos: ir.Value, sin: ir.Value) -> ir.Value:
        """Projects to query or key heads ``[1, rows, count * head_dim]``, normalises each head and rotates it."""
        size = count * config.head_dim
        projected = op.linear(source, f"{name}.self_attn.{part}_proj", width, size)
        per_head = op.Reshape(projected, [1, -1, count, config.head_dim])
        normed = op.rms_norm(per_head, f"{name}.self_attn.{part}_norm", config.head_dim, config.norm_eps)
        return op.RotaryEmbedding(op.Reshape(normed, [1, -1, size]), cos, sin, num_heads=count)

    normed = op.rms_norm(x, f"{name}.input_layernorm", width, config.norm_eps)
    k = turned(normed, "k", config.kv_heads, cos, sin)
    v = op.Unsqueeze(op.linear(normed, f"{name}.self_attn.v_proj", width, kv_wide), [0])
    if last_only:
        x, normed, cos, sin = _last(op, x, 0), _last(op, normed, 0), _last(op, cos, 1), _last(op, sin, 1)
        q = turned(normed, "q", config.heads, cos, sin)
        attended = attend_last(op, q, k, v, config.kv_heads, config.head_dim)
    else:
        q = turned(normed, "q", config.heads, cos, sin)
        attended = op.causal_attention(q, k, v, config.heads, config.kv_heads)
    x = op.Add(x, op.linear(op.Reshape(attended, [-1, wide]), f"{name}.self_attn.o_proj", wide, width))

    normed = op.rms_norm(x, f"{name}.post_attention_layernorm", width, config.norm_eps)
    gate = op.linear(normed, f"{name}.mlp.gate_proj", width, config.intermediate_size)
    up = op.linear(normed, f"{name}.mlp.up_proj", width, config.intermediate_size)
    silu = op.Mul(gate, op.Sigmoid(gate))
    return op.Add(x, op.linear(op.Mul(silu, up), f"{name}.mlp.down_proj", config.intermediate_size, width))
