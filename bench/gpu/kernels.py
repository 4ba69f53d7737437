"""Times the pruning kernels beside a copy of as many bytes, a matrix product of the same shape, and a PyTorch loop.

Bytes that move at least once are counted, with ``e`` bytes an element, N visual tokens, T text tokens, hidden size H,
K pages and M kept tokens:

- ``text_scales`` reads the text (T H e) and its mask (T), writes order and scale (8 T) and their count (4);
- ``relevance_scores`` reads level 0 of the visual rows (N H e), their indices (8 N), the text (T H e), order and scale
  (8 T) and the count (4), writes relevance (4 N);
- ``select_kept`` reads relevance (4 N), page offsets (8 (K + 1)) and keep counts (8 K), writes kept (8 M) and status
  (4 K).

Operations are the products of visual and text rows, 2 N T H; norms and the selection are not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from ziprerank.comparison.machine import quantiles
from ziprerank.kernels import prune_pool, reference
from ziprerank.kernels.front import _Launch
from ziprerank.kernels.relevance import relevance_scores, text_scales
from ziprerank.kernels.select import select_kept

from .device import Device
from .roofline import DTYPES, Roofline, copy_ms, product_ms

TEXT, KEEP_RATIO, LEVELS = 32, 0.5, 4
RUNS = 25
TOLERANCE = 1e-4  # of a cosine, for float32 sums of 4,096 products in another order


@dataclass(frozen=True, slots=True)
class Counts:
    """Sizes of a window; the formulas are in the module's docstring.

    Attributes:
        visual: visual tokens, N.
        text: text tokens, T.
        hidden: H.
        pages: K.
        kept: M.
        element: bytes of an element, e.
    """

    visual: int
    text: int
    hidden: int
    pages: int
    kept: int
    element: int

    @property
    def bytes(self) -> dict[str, int]:
        """Bytes that each kernel moves at least once."""
        rows, text = self.visual * self.hidden * self.element, self.text * self.hidden * self.element
        return {
            "text_scales": text + self.text + 8 * self.text + 4,
            "relevance_scores": rows + 8 * self.visual + text + 8 * self.text + 4 + 4 * self.visual,
            "select_kept": 4 * self.visual + 8 * (self.pages + 1) + 8 * self.pages + 8 * self.kept + 4 * self.pages,
        }

    @property
    def operations(self) -> int:
        """Operations of the product of visual and text rows."""
        return 2 * self.visual * self.text * self.hidden


@dataclass(frozen=True)
class Window:
    """The kernels' inputs and outputs on the device, named as in `ziprerank.kernels.prune_pool`."""

    pool: Tensor
    rows: Tensor
    page_offsets: Tensor
    keep: Tensor
    text: Tensor
    counts: Counts

    @classmethod
    def random(cls, device: Device, dtype: str, pages: int, tokens: int, hidden: int) -> Window:
        """Makes ``pages`` pages of ``tokens`` visual tokens and `TEXT` text tokens; half are kept.

        Rows are scattered over the pool in blocks of 32, as in the engine's page pool.
        """
        count = pages * tokens
        blocks = -(-count // 32)
        rows = (torch.randperm(blocks)[:, None] * 32 + torch.arange(32)).flatten()[:count]
        keep = reference.keep_count(tokens, KEEP_RATIO)
        element = DTYPES[dtype].itemsize
        return cls(
            torch.randn(32 * blocks, LEVELS, hidden, device=device.torch, dtype=DTYPES[dtype]),
            rows.to(device.torch),
            (torch.arange(pages + 1) * tokens).to(device.torch),
            torch.full((pages,), keep).to(device.torch),
            torch.randn(TEXT, hidden, device=device.torch, dtype=DTYPES[dtype]),
            Counts(count, TEXT, hidden, pages, pages * keep, element),
        )

    @property
    def mask(self) -> Tensor:
        """Query mask ``[T]``: every text token is compared."""
        return torch.ones(len(self.text), dtype=torch.bool, device=self.text.device)

    def launches(self) -> dict[str, Callable[[], None]]:
        """Returns a launch of each kernel by itself, in the order in which they depend on each other."""
        text, visual, pages = len(self.text), len(self.rows), len(self.keep)
        empty = partial(torch.empty, device=self.pool.device)
        order, scale = empty(text, dtype=torch.int32), empty(text, dtype=torch.float32)
        count, relevance = empty(1, dtype=torch.int32), empty(visual, dtype=torch.float32)
        kept, status = empty(self.counts.kept, dtype=torch.int64), empty(pages, dtype=torch.int32)
        mask, launch = self.mask.view(torch.uint8), _Launch(self.pool)
        return {
            "text_scales": lambda: launch(text_scales, text, self.text, mask, order, scale, count, text),
            "relevance_scores": lambda: launch(
                relevance_scores, visual, self.pool, self.rows, self.text, order, scale, count, relevance, visual
            ),
            "select_kept": lambda: launch(select_kept, pages, relevance, self.page_offsets, self.keep, kept, status),
        }

    def loop(self) -> Tensor:
        """Prunes page by page in PyTorch, by the specification."""
        return reference.prune(self.pool[self.rows, 0], self.text, self.page_offsets, self.keep)

    def together(self) -> Callable[[], object]:
        """Returns a function that makes all launches of a window."""
        mask, kept = self.mask, self.counts.kept
        return lambda: prune_pool(self.pool, self.rows, self.page_offsets, self.keep, self.text, mask, kept)


def row(device: Device, roofline: Roofline, pages: int, tokens: int, hidden: int) -> dict[str, Any]:
    """Measures one window. Raises SystemExit if the kernels differ from the specification."""
    window = Window.random(device, roofline.dtype, pages, tokens, hidden)
    counts, runs = window.counts, RUNS if device.cuda else 2
    error = _largest_error(window)
    launches, together = window.launches(), window.together()
    warm = {name: device.wall_ms(run) for name, run in launches.items()}
    whole, timed_by = device.replay(together)
    times = {name: quantiles(device.times_ms(device.replay(run)[0], runs)) for name, run in launches.items()}
    total = quantiles(device.times_ms(whole, runs))
    window.loop()
    loop = quantiles(device.times_ms(window.loop, runs))
    moved = sum(counts.bytes.values())
    copy = copy_ms(device, moved)
    return {
        "what": "prune kernels",
        "dtype": roofline.dtype,
        "pages": pages,
        "visual_tokens": counts.visual,
        "text_tokens": counts.text,
        "kept_tokens": counts.kept,
        "hidden": hidden,
        "bytes": counts.bytes,
        "operations": counts.operations,
        "largest_cosine_error": float(f"{error:.3g}"),
        "timed_by": timed_by,
        "runs": runs,
        "warmup_ms": {name: float(f"{ms:.4g}") for name, ms in warm.items()},
        "launch_ms": times,
        "total_ms": total,
        "loop_ms": loop,
        "copy_ms": copy,
        "product_ms": product_ms(device, counts.visual, hidden, counts.text, roofline.dtype),
        "floor_ms": float(f"{roofline.floor_ms(counts.operations, moved):.4g}"),
        "over_copy": float(f"{total['p50'] / copy['p50']:.3g}"),
        "over_loop": float(f"{total['p50'] / loop['p50']:.3g}"),
    }


def _largest_error(window: Window) -> float:
    """Returns the largest difference between the kernels' cosines and the specification's."""
    found = prune_pool(
        window.pool, window.rows, window.page_offsets, window.keep, window.text, window.mask, window.counts.kept
    )
    found.check()
    expected = reference.relevance(window.pool[window.rows, 0], window.text)
    error = float((found.relevance - expected).abs().max())
    kept = expected[found.kept].view(len(window.keep), -1).amin(dim=1)
    best = expected[window.loop()].view(len(window.keep), -1).amin(dim=1)
    error = max(error, float((kept - best).abs().max()))
    if not error <= TOLERANCE:
        raise SystemExit(f"the kernels' cosines differ from the specification's by {error:.1e}, {TOLERANCE} is allowed")
    return error
