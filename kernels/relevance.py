"""Triton: the relevance of each visual token to the text, in two launches. `reference` is their specification.

`text_scales` lists the text tokens in the mask, each with the factor that scales its row to unit length.
`relevance_scores` multiplies a tile of visual rows, read through the page pool, with the listed text rows *as they are
stored* on the tensor cores, and scales the float32 sums afterwards. That costs one multiplication for each sum and no
precision, whereas unit rows stored in bf16 would have lost 16 of their 24 bits.

Only the running maximum over text tokens leaves the registers; the [visual, text] matrix never exists in memory.

Two values are reserved, so that bad input is reported without a wait on the host (`select` turns them into a status):
NaN for a visual row that is not finite or whose squared norm overflows float32, and +inf for every visual row if that
holds for a text row, or if the mask is empty.

Tests run these kernels in Triton's interpreter and compile them for each target; no test has run them on a GPU.
"""

from __future__ import annotations

import triton
import triton.language as tl

NORM_FLOOR = tl.constexpr(1e-12)


@triton.jit
def sum_before(values, end, BLOCK: tl.constexpr):
    """Sums ``values[:end]`` in int32."""
    lane = tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.int32)
    for first in range(0, end, BLOCK):
        total += tl.load(values + first + lane, mask=first + lane < end, other=0).to(tl.int32)
    return tl.sum(total)


@triton.jit
def text_scales(
    text,  # [T, HIDDEN] f32 | f16 | bf16
    query_mask,  # [T] u8, 0 or 1
    order,  # out [T] i32: indices of the text tokens in the mask, ascending; `count` of them
    scale,  # out [T] f32: 1 / max(norm, 1e-12) of each of them, NaN if the row is not finite
    count,  # out [1] i32
    T,
    HIDDEN: tl.constexpr,
    BLOCK_TEXT: tl.constexpr,
    BLOCK_HIDDEN: tl.constexpr,
    BLOCK_MASK: tl.constexpr,
):
    """Lists text tokens, BLOCK_TEXT in each program."""
    first = tl.program_id(0) * BLOCK_TEXT
    t = first + tl.arange(0, BLOCK_TEXT)
    used = tl.load(query_mask + t, mask=t < T, other=0).to(tl.int32)
    place = sum_before(query_mask, first, BLOCK_MASK) + tl.cumsum(used, axis=0)  # from 1
    if first + BLOCK_TEXT >= T:
        tl.store(count, tl.max(place, axis=0))

    squares = tl.zeros([BLOCK_TEXT, BLOCK_HIDDEN], tl.float32)
    for k in range(0, HIDDEN, BLOCK_HIDDEN):
        d = k + tl.arange(0, BLOCK_HIDDEN)
        inside = (used != 0)[:, None] & (d < HIDDEN)[None, :]
        part = tl.load(text + t.to(tl.int64)[:, None] * HIDDEN + d[None, :], mask=inside, other=0.0).to(tl.float32)
        squares += part * part
    square = tl.sum(squares, axis=1)
    inverse = tl.div_rn(1.0, tl.maximum(tl.sqrt_rn(square), NORM_FLOOR))
    tl.store(order + place - 1, t, mask=used != 0)
    tl.store(scale + place - 1, tl.where(square < float("inf"), inverse, float("nan")), mask=used != 0)


@triton.jit
def relevance_scores(
    pool,  # [R, LEVELS, HIDDEN] f32 | f16 | bf16; a visual token is level 0 of its row
    rows,  # [N] i64, in 0..R-1
    text,  # [T, HIDDEN], the pool's dtype
    order,  # [T] i32, from text_scales
    scale,  # [T] f32
    count,  # [1] i32
    relevance,  # out [N] f32
    N,
    HIDDEN: tl.constexpr,
    LEVELS: tl.constexpr,
    BLOCK_VISUAL: tl.constexpr,
    BLOCK_TEXT: tl.constexpr,
    BLOCK_HIDDEN: tl.constexpr,
    WIDEN: tl.constexpr,  # multiply in float32: the interpreter's dot reads bf16 as integers
):
    """Scores visual tokens, a tile of BLOCK_VISUAL in each program."""
    n = tl.program_id(0) * BLOCK_VISUAL + tl.arange(0, BLOCK_VISUAL)
    # Lanes past the end read row 0 of the pool, or token 0 of the text: both exist, so the loads need no mask.
    visual = tl.load(rows + n, mask=n < N, other=0) * (LEVELS * HIDDEN)
    tokens = tl.load(count)
    lane = tl.arange(0, BLOCK_TEXT)
    best = tl.full([BLOCK_VISUAL], float("-inf"), tl.float32)
    square = tl.zeros([BLOCK_VISUAL], tl.float32)
    good_text = tokens > 0

    for first in range(0, tokens, BLOCK_TEXT):
        valid = first + lane < tokens
        token = tl.load(order + first + lane, mask=valid, other=0).to(tl.int64) * HIDDEN
        factor = tl.load(scale + first + lane, mask=valid, other=0.0)
        product = tl.zeros([BLOCK_VISUAL, BLOCK_TEXT], tl.float32)
        squares = tl.zeros([BLOCK_VISUAL, BLOCK_HIDDEN], tl.float32)
        for k in range(0, HIDDEN, BLOCK_HIDDEN):
            d = k + tl.arange(0, BLOCK_HIDDEN)
            if HIDDEN % BLOCK_HIDDEN == 0:
                a = tl.load(pool + visual[:, None] + d[None, :])
                b = tl.load(text + token[None, :] + d[:, None])
            else:
                a = tl.load(pool + visual[:, None] + d[None, :], mask=d[None, :] < HIDDEN, other=0.0)
                b = tl.load(text + token[None, :] + d[:, None], mask=d[:, None] < HIDDEN, other=0.0)
            wide = a.to(tl.float32)
            squares += wide * wide
            if WIDEN:
                product = tl.dot(wide, b.to(tl.float32), product, input_precision="ieee")
            else:
                product = tl.dot(a, b, product, input_precision="ieee")
        # Tokens outside the mask are not in the list; spare lanes of the last tile must lose to any negative cosine.
        cosine = tl.where(valid[None, :], product * factor[None, :], float("-inf"))
        best = tl.maximum(best, tl.max(cosine, axis=1))
        square = tl.sum(squares, axis=1)  # the same in every pass: cheaper to repeat than to branch
        good_text = good_text & (tl.min((factor >= 0.0).to(tl.int32), axis=0) != 0)  # NaN is not at least 0

    result = tl.div_rn(best, tl.maximum(tl.sqrt_rn(square), NORM_FLOOR))
    result = tl.where(square < float("inf"), result, float("nan"))
    tl.store(relevance + n, tl.where(good_text, result, float("inf")), mask=n < N)
