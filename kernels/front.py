"""Prunes on PyTorch tensors, whose device alone decides what runs.

- CUDA: the Triton kernels (extra ``kernels``), in three launches, without host synchronisation once sizes are known;
- CPU: the specification, `ziprerank.kernels.reference`, which CUDA tensors never fall back to;
- CPU with ``TRITON_INTERPRET=1`` set before the first call: the kernels in Triton's interpreter, for tests.

Tests run this code in the interpreter; no test has run it on a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from . import reference
from .errors import KernelError
from .launch import tile

DTYPES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
TEXT_NOT_FINITE, KEEP_OUT_OF_RANGE = -1, -2
LONGEST = 2**31 - 1


@dataclass(frozen=True)
class Pruned:
    """Result of pruning a window, on the inputs' device.

    Attributes:
        kept: ``[M]`` int64, ascending: indices into the window's visual tokens.
        relevance: ``[N]`` float32: largest cosine with a text token in the mask. NaN where a visual row is not finite,
            +inf everywhere if a text row is not finite or the mask is empty.
        status: ``[K]`` int32, by page: 0, or 1 + the page's first visual token that is not finite, or -1 if the text
            is not finite or empty, or -2 if ``keep`` is not in 1..tokens of the page. Where it is not 0, the page's
            part of ``kept`` is meaningless.
    """

    kept: Tensor
    relevance: Tensor
    status: Tensor

    def check(self) -> None:
        """Waits for the device and checks the status.

        Raises:
            KernelError: A page's status is not 0.
        """
        for page, status in enumerate(self.status.tolist()):
            if status == TEXT_NOT_FINITE:
                raise KernelError(
                    "the mask selects no text token, or one that is not finite: check text and query_mask"
                )
            if status == KEEP_OUT_OF_RANGE:
                raise KernelError(f"keep of page {page} is not in 1..tokens of the page")
            if status > 0:
                raise KernelError(f"visual token {status - 1} of page {page} is not finite, or its norm is not")


def implementation(device: torch.device) -> Literal["triton", "reference"]:
    """Returns what prunes tensors of this device.

    Raises:
        KernelError: The device is neither CUDA nor a CPU.
    """
    if device.type == "cuda" or (device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"):
        return "triton"
    if device.type == "cpu":
        return "reference"
    raise KernelError(f"tensors on {device}: pruning runs on cuda and cpu")


def prune(visual: Tensor, text: Tensor, page_offsets: Tensor, keep: Tensor, total: int | None = None) -> Tensor:
    """Selects the ``keep[p]`` most relevant visual tokens of each page; on a tie the lower index wins.

    The selection has no gradient; `gather_kept` passes gradients to the kept rows.

    Args:
        visual: ``[N, D]`` float32, float16 or bfloat16: the pages' visual tokens, page by page.
        text: ``[T, D]``, the same dtype: the text tokens to compare with.
        page_offsets: ``[K + 1]`` int64: page ``p`` is ``visual[page_offsets[p] : page_offsets[p + 1]]``.
        keep: ``[K]`` int64: at least 1 and at most the page's length.
        total: The sum of ``keep``. With it nothing waits for the device, so rows that are not finite are not detected;
            `prune_pool` returns a status instead.

    Returns:
        ``[M]`` int64, ascending indices into ``visual``.

    Raises:
        KernelError: A shape or a dtype is wrong, or, without ``total``, a value.
    """
    if visual.dim() != 2:
        raise KernelError(f"visual is {_shape(visual)}: must be [N, D]")
    rows = torch.arange(len(visual), device=visual.device)
    mask = torch.ones(len(text), dtype=torch.bool, device=text.device)
    pruned = prune_pool(visual.unsqueeze(1), rows, page_offsets, keep, text, mask, total)
    if total is None:
        pruned.check()
    return pruned.kept


def gather_kept(visual: Tensor, kept: Tensor) -> Tensor:
    """Gathers ``visual[kept]``: ``[M, ...]`` from ``[N, ...]``. Gradients reach the kept rows; the others get zero.

    ``index_select`` replaces ``visual[kept]`` because its backward adds rows in place, whereas indexing sorts first.
    """
    return visual.index_select(0, kept)


@torch.no_grad()
def prune_pool(
    pool: Tensor,
    rows: Tensor,
    page_offsets: Tensor,
    keep: Tensor,
    text: Tensor,
    query_mask: Tensor,
    total: int | None = None,
) -> Pruned:
    """Prunes a window on a page pool, as a bundle's operator ``ziprerank::QueryImagePrune`` does (docs/bundle.md).

    Args:
        pool: ``[R, L, H]`` float32, float16 or bfloat16; visual token ``v`` is ``pool[rows[v], 0]``.
        rows: ``[N]`` int64 in 0..R-1. Not checked on CUDA, where a check would wait for the device.
        page_offsets: ``[K + 1]`` int64 from 0 to N, ascending. Not checked if ``total`` is given.
        keep: ``[K]`` int64.
        text: ``[T, H]``, the pool's dtype.
        query_mask: ``[T]`` bool: the text tokens to compare with.
        total: The sum of ``keep``; without it the host reads ``page_offsets`` and ``keep``, and waits for them.

    Raises:
        KernelError: A shape or a dtype is wrong, or, without ``total``, an offset or a count.
    """
    _check_tensors(pool, rows, page_offsets, keep, text, query_mask)
    if total is None:
        total = _check_pages(page_offsets.tolist(), keep.tolist(), len(rows))
    run = _triton if implementation(pool.device) == "triton" else _reference
    return run(pool.contiguous(), rows, page_offsets, keep, text.contiguous(), query_mask.contiguous(), total)


def _reference(
    pool: Tensor, rows: Tensor, page_offsets: Tensor, keep: Tensor, text: Tensor, query_mask: Tensor, total: int
) -> Pruned:
    visual, text = pool[rows, 0], text[query_mask]
    lengths = page_offsets.diff()
    status = torch.where((keep < 1) | (keep > lengths), KEEP_OUT_OF_RANGE, 0).to(torch.int32)
    if len(text) == 0 or not text.float().square().sum(1).isfinite().all():
        everything = torch.full((len(rows),), torch.inf)
        return Pruned(rows.new_zeros(total), everything, status.masked_fill(status == 0, TEXT_NOT_FINITE))
    finite = visual.float().square().sum(1).isfinite()
    relevance = reference.relevance(visual, text).masked_fill(~finite, torch.nan)
    for page, (start, length) in enumerate(zip(page_offsets[:-1].tolist(), lengths.tolist(), strict=True)):
        bad = (~finite[start : start + length]).nonzero()
        if len(bad) and status[page] == 0:
            status[page] = 1 + bad[0, 0]
    kept = rows.new_zeros(total) if status.any() else reference.prune(visual, text, page_offsets, keep)
    return Pruned(kept, relevance, status)


def _triton(
    pool: Tensor, rows: Tensor, page_offsets: Tensor, keep: Tensor, text: Tensor, query_mask: Tensor, total: int
) -> Pruned:
    try:
        from .relevance import relevance_scores, text_scales
        from .select import select_kept
    except ImportError as error:
        raise ImportError(f'{error}: pruning on CUDA needs Triton: pip install "ziprerank[kernels]"') from error

    device = pool.device
    tokens, count, pages = len(text), len(rows), len(keep)
    order = torch.empty(tokens, dtype=torch.int32, device=device)
    scale = torch.empty(tokens, dtype=torch.float32, device=device)
    used = torch.empty(1, dtype=torch.int32, device=device)
    relevance = torch.empty(count, dtype=torch.float32, device=device)
    kept = torch.empty(total, dtype=torch.int64, device=device)
    status = torch.empty(pages, dtype=torch.int32, device=device)
    launch = _Launch(pool)
    with launch.on_device():
        launch(text_scales, tokens, text, query_mask.view(torch.uint8), order, scale, used, tokens)
        launch(relevance_scores, count, pool, rows, text, order, scale, used, relevance, count)
        launch(select_kept, pages, relevance, page_offsets, keep, kept, status)
    return Pruned(kept, relevance, status)


class _Launch:
    """Launches kernels with the tiles for the pool's device, dtype and sizes."""

    def __init__(self, pool: Tensor) -> None:
        self.device = pool.device
        self.capability: int | None = None
        if self.device.type == "cuda":
            major, minor = torch.cuda.get_device_capability(self.device)
            self.capability = 10 * major + minor
        self.dtype = DTYPES[pool.dtype]
        self.levels, self.hidden = pool.shape[1:]

    def on_device(self) -> AbstractContextManager[Any]:
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()

    def __call__(self, kernel: Any, length: int, *arguments: Tensor | int) -> None:
        tiles = tile(kernel.__name__, self.capability, self.dtype, self.hidden, self.levels)
        constants = dict(tiles.constants)
        if "WIDEN" in constants:
            constants["WIDEN"] = self.device.type == "cpu" and self.dtype == "bf16"
        run: Callable[..., Any] = kernel[(-(-length // tiles.grid_step),)]
        run(*arguments, **constants, num_warps=tiles.num_warps, num_stages=tiles.num_stages, enable_fp_fusion=True)


def _check_tensors(
    pool: Tensor, rows: Tensor, page_offsets: Tensor, keep: Tensor, text: Tensor, query_mask: Tensor
) -> None:
    named = {"rows": rows, "page_offsets": page_offsets, "keep": keep, "text": text, "query_mask": query_mask}
    if pool.dim() != 3 or 0 in pool.shape:
        raise KernelError(f"pool is {_shape(pool)}: must be [R, L, H], none of them 0")
    if pool.dtype not in DTYPES:
        raise KernelError(f"visual tokens are {pool.dtype}: must be float32, float16 or bfloat16")
    if text.dim() != 2 or len(text) == 0 or text.shape[1] != pool.shape[2] or text.dtype != pool.dtype:
        raise KernelError(
            f"text is {_shape(text)} {text.dtype}: must be [T, {pool.shape[2]}] {pool.dtype}, T at least 1, "
            "as the visual tokens are"
        )
    if query_mask.dtype != torch.bool or query_mask.shape != text.shape[:1]:
        raise KernelError(f"query_mask is {_shape(query_mask)} {query_mask.dtype}: must be [{len(text)}] torch.bool")
    for name in ("rows", "page_offsets", "keep"):
        if named[name].dim() != 1 or named[name].dtype != torch.int64 or not named[name].is_contiguous():
            raise KernelError(f"{name} is {_shape(named[name])} {named[name].dtype}: must be contiguous 1-D int64")
    if not 1 <= len(rows) <= LONGEST or len(keep) == 0 or len(page_offsets) != len(keep) + 1:
        raise KernelError(
            f"{len(rows)} visual tokens, {len(page_offsets)} page offsets, {len(keep)} keep counts: "
            "there must be visual tokens, pages, and one offset more than pages"
        )
    for name, tensor in named.items():
        if tensor.device != pool.device:
            raise KernelError(f"{name} is on {tensor.device}, the visual tokens on {pool.device}: move one of them")


def _check_pages(page_offsets: list[int], keep: list[int], visual: int) -> int:
    """Checks offsets and counts, and returns the number of kept tokens."""
    if page_offsets[0] != 0 or page_offsets[-1] != visual:
        raise KernelError(f"page_offsets run from {page_offsets[0]} to {page_offsets[-1]}: must be 0 to {visual}")
    for page, count in enumerate(keep):
        length = page_offsets[page + 1] - page_offsets[page]
        if not 1 <= count <= length:
            raise KernelError(f"keep is {count} for page {page} of {length} visual tokens: must be 1..{length}")
    return sum(keep)


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))
