"""What the machine could do at best: operations and bytes that a stage needs, counted from the bundle's shapes, against
this machine's GEMM and copy rates, measured in the same run.

A stage's limit is the larger of ``operations / GEMM rate`` and ``bytes / copy rate``. Counted are the products of
matrices (2 operations for a multiply and an add; causal attention as half of its square) and the bytes that have to
move at least once: weights for each run of a graph, inputs, outputs. What is not counted (normalisation, softmax,
activations between operators) costs time, so a fraction of 1 is out of reach.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ziprerank._engine import library
from ziprerank.bundle import Bundle
from ziprerank.prompt import PromptBuilder

from . import machine, prune_op
from .cases import FILE, KEEP_RATIOS, Case
from .ours import BYTES, NAME, Ours

GEMM_SIDE, COPY_BYTES, TRIES = 1536, 128 << 20, 9
PRUNE_RUNS = 9


@dataclass(frozen=True, slots=True)
class Work:
    """Floating-point operations and bytes of one stage."""

    operations: float
    bytes: float

    def __add__(self, other: Work) -> Work:
        return Work(self.operations + other.operations, self.bytes + other.bytes)


@dataclass(frozen=True, slots=True)
class Rates:
    """The best of several tries: operations and bytes a second."""

    gemm: float
    copy: float

    @classmethod
    def measure(cls, *, quick: bool) -> Rates:
        """float32 GEMM by PyTorch and by NumPy, the faster counts; a copy counts what it reads and what it writes."""
        side, tries = (256, 2) if quick else (GEMM_SIDE, TRIES)
        left, right = torch.rand(side, side), torch.rand(side, side)
        by_numpy = left.numpy(), right.numpy()
        source = np.ones((1 << 20 if quick else COPY_BYTES) // 4, np.float32)
        target = np.empty_like(source)
        gemms = [best(lambda: left @ right, tries), best(lambda: by_numpy[0] @ by_numpy[1], tries)]
        threaded = torch.from_numpy(source), torch.from_numpy(target)
        copies = [best(lambda: np.copyto(target, source), tries), best(lambda: threaded[1].copy_(threaded[0]), tries)]
        return cls(2 * side**3 / min(gemms), 2 * source.nbytes / min(copies))

    def row(self) -> dict[str, float]:
        return {"gemm_gflops": round(self.gemm / 1e9, 1), "copy_gb_s": round(self.copy / 1e9, 2)}

    def limit_ms(self, work: Work) -> float:
        return max(work.operations / self.gemm, work.bytes / self.copy) * 1e3


def best(run: Callable[[], object], tries: int) -> float:
    """Seconds of the quickest try."""
    times = []
    for _ in range(tries):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)


def vision(bundle: Bundle, patches: int) -> Work:
    """The tower on one page of ``patches`` patches."""
    tower, hidden, levels = bundle.model["vision"], bundle.model["hidden_size"], bundle.model["levels"]
    width, inner, depth = tower["hidden_size"], tower["intermediate_size"], tower["depth"]
    values, merged = 3 * bundle.image.patch_size**2, bundle.image.merge_size**2
    tokens, wide = patches // merged, width * merged
    weights = values * width + depth * (4 * width**2 + 2 * width * inner) + levels * (wide**2 + wide * hidden)
    per_patch = values * width + depth * (4 * width**2 + 2 * width * inner + 2 * patches * width)
    operations = 2 * (patches * per_patch + tokens * levels * (wide**2 + wide * hidden))
    return Work(operations, BYTES[bundle.precision] * (weights + tokens * levels * hidden) + patches * values)


def prune(bundle: Bundle, visual: int, compared: int) -> Work:
    """Cosines of ``visual`` tokens with ``compared`` text tokens."""
    hidden = bundle.model["hidden_size"]
    return Work(2 * visual * compared * hidden, BYTES[bundle.precision] * (visual + compared) * hidden)


def decoder(bundle: Bundle, text: int, kept: int) -> Work:
    """One pass over ``text + kept`` tokens. Of the last layer only the last position's query, output and MLP."""
    shape, hidden, levels = bundle.model["decoder"], bundle.model["hidden_size"], bundle.model["levels"]
    inner, letters, length = shape["intermediate_size"], len(bundle.tokens.letters), text + kept
    queries, keys = shape["heads"] * shape["head_dim"], shape["kv_heads"] * shape["head_dim"]
    one_position = 2 * hidden * queries + 3 * hidden * inner
    key_value = 2 * hidden * keys
    full, weights = shape["layers"] - 1, shape["layers"] * (one_position + key_value) + letters * hidden
    products = full * length * (one_position + key_value) + length * key_value + one_position + letters * hidden
    attention = full * length**2 * queries + 2 * length * queries  # scores and values, half of each square
    moved = weights + kept * levels * hidden + text * hidden
    return Work(2 * (products + attention), BYTES[bundle.precision] * moved)


def rows(ours: Ours, latencies: Sequence[dict[str, Any]], rates: Rates) -> Iterator[dict[str, Any]]:
    """One row for the vision tower, one for the pruning operator, one for the decoder at each keep ratio."""
    case = ours.case
    medians = {
        row["keep_ratio"]: {stage: times["p50"] for stage, times in row["stages_ms"].items()}
        for row in latencies
        if row["system"] == NAME and row["start"] == FILE
    }
    bundle = case.bundle
    tokens = [page.shape[0] * page.shape[1] // bundle.image.factor**2 for page in ours.pixels]
    tower = sum((vision(bundle, count * bundle.image.merge_size**2) for count in tokens), Work(0, 0))
    yield _row("vision", None, tower, medians[0.5]["vision"], rates)

    prompt = PromptBuilder(bundle).build(bundle_query(case), case.plan.width)
    text = len(prompt.text_ids) - case.plan.width
    windows = [tokens[start : start + case.plan.width] for start in case.plan.starts]
    compared = compared_tokens(case)
    pruned = sum((prune(bundle, sum(window), compared) for window in windows), Work(0, 0))
    alone = len(windows) * prune_ms(bundle, windows[0], compared)
    row = _row("prune", 0.5, pruned, alone, rates)
    yield {**row, "share_of_pass": float(f"{alone / medians[0.5]['decoder']:.3g}")}
    for keep_ratio in KEEP_RATIOS:
        passes = Work(0, 0)
        for window in windows:
            kept = sum(max(1, round(keep_ratio * count)) for count in window)
            passes += decoder(bundle, text, kept) + prune(bundle, sum(window), compared)
        yield _row("decoder", keep_ratio, passes, medians[keep_ratio]["decoder"], rates)


def bundle_query(case: Case) -> str:
    return PromptBuilder(case.bundle).check_query(case.query)


def compared_tokens(case: Case) -> int:
    """How many text tokens visual tokens are compared with."""
    prompt = PromptBuilder(case.bundle).build(bundle_query(case), case.plan.width)
    if prompt.query_mask is not None:
        return int(prompt.query_mask.sum())
    tokens = case.bundle.tokens
    before = prompt.text_ids[: prompt.text_ids.tolist().index(tokens.image_pad)]
    return int((~np.isin(before, [tokens.vision_start, tokens.vision_end])).sum())


def prune_ms(bundle: Bundle, window: Sequence[int], compared: int) -> float:
    """Median milliseconds of the fused operator alone on one window, keep ratio 0.5, float32."""
    rng = np.random.default_rng(0)
    levels, hidden, total = bundle.model["levels"], bundle.model["hidden_size"], sum(window)
    feed = {
        "pool": rng.standard_normal((total, levels, hidden), dtype=np.float32),
        "rows": np.arange(total),
        "page_offsets": np.cumsum([0, *window]),
        "keep": np.array([max(1, round(0.5 * count)) for count in window]),
        "text": rng.standard_normal((compared, hidden), dtype=np.float32),
        "query_mask": np.ones(compared, bool),
    }
    fused = prune_op.session(op_library=library())
    fused.run(None, feed)
    times = [best(lambda: fused.run(None, feed), 1) * 1e3 for _ in range(PRUNE_RUNS)]
    return machine.quantiles(times)["p50"]


def _row(stage: str, keep_ratio: float | None, work: Work, measured_ms: float, rates: Rates) -> dict[str, Any]:
    limit = rates.limit_ms(work)
    return {
        "what": "limit",
        "stage": stage,
        "keep_ratio": keep_ratio,
        "gflop": float(f"{work.operations / 1e9:.4g}"),
        "mb": float(f"{work.bytes / 1e6:.4g}"),
        "limit_ms": float(f"{limit:.4g}"),
        "measured_ms": measured_ms,
        "fraction": float(f"{limit / measured_ms:.3g}"),
    }
