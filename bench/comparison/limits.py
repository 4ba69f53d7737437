"""The least time that a stage could take on this machine.

Operations and bytes are counted from the bundle's shapes; the GEMM and copy rates are measured in the same run.
A stage's limit is the larger of ``operations / GEMM rate`` and ``bytes / copy rate``.
Matrix products count 2 operations for a multiply and an add, and causal attention counts as half of its square.
Bytes are those that move at least once: the weights for each run of a graph, inputs and outputs.
Normalisation, softmax and activations between operators also take time but are not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ziprerank.bundle import Bundle
from ziprerank.prompt import PromptBuilder

from .cases import FILE, KEEP_RATIOS, OURS, Case
from .ours import BYTES, Ours
from .pruning import Share
from .torch_model import DTYPES

GEMM_SIDE, COPY_BYTES, TRIES = 1536, 128 << 20, 9
GPU_GEMM_SIDE = 8192


@dataclass(frozen=True, slots=True)
class Work:
    """Floating-point operations and bytes moved by one stage."""

    operations: float
    bytes: float

    def __add__(self, other: Work) -> Work:
        return Work(self.operations + other.operations, self.bytes + other.bytes)


@dataclass(frozen=True, slots=True)
class Rates:
    """Operations a second of a GEMM and bytes a second of a copy, each the best of several tries."""

    gemm: float
    copy: float

    @classmethod
    def measure(cls, provider: str, precision: str, *, quick: bool) -> Rates:
        """Measures the rates of the CPU or of a GPU.

        A copy counts both the bytes it reads and the bytes it writes.

        Args:
            provider: "cuda" or "cuda:N" for a GPU; anything else measures the CPU in float32, by PyTorch and by NumPy,
                and takes the faster.
            precision: dtype of the GPU's GEMM.
            quick: small sizes and two tries; the rates then mean nothing.
        """
        tries = 2 if quick else TRIES
        if provider.startswith("cuda"):
            return cls._of_gpu(provider, DTYPES[precision], tries)
        side = 256 if quick else GEMM_SIDE
        left, right = torch.rand(side, side), torch.rand(side, side)
        by_numpy = left.numpy(), right.numpy()
        source = np.ones((1 << 20 if quick else COPY_BYTES) // 4, np.float32)
        target = np.empty_like(source)
        gemms = [best(lambda: left @ right, tries), best(lambda: by_numpy[0] @ by_numpy[1], tries)]
        threaded = torch.from_numpy(source), torch.from_numpy(target)
        copies = [best(lambda: np.copyto(target, source), tries), best(lambda: threaded[1].copy_(threaded[0]), tries)]
        return cls(2 * side**3 / min(gemms), 2 * source.nbytes / min(copies))

    @classmethod
    def _of_gpu(cls, device: str, dtype: torch.dtype, tries: int) -> Rates:
        def finished(run: Callable[[], object]) -> Callable[[], None]:
            def both() -> None:
                run()
                torch.cuda.synchronize(device)

            return both

        left, right = (torch.rand(GPU_GEMM_SIDE, GPU_GEMM_SIDE, device=device).to(dtype) for _ in range(2))
        source = torch.zeros(1 << 28, dtype=torch.float32, device=device)  # 1 GiB: no cache holds it
        target = torch.empty_like(source)
        gemm, copy = (best(finished(run), tries) for run in (lambda: left @ right, lambda: target.copy_(source)))
        return cls(2 * GPU_GEMM_SIDE**3 / gemm, 2 * source.nbytes / copy)

    def row(self) -> dict[str, float]:
        return {"gemm_gflops": round(self.gemm / 1e9, 1), "copy_gb_s": round(self.copy / 1e9, 2)}

    def limit_ms(self, work: Work) -> float:
        return max(work.operations / self.gemm, work.bytes / self.copy) * 1e3


def best(run: Callable[[], object], tries: int) -> float:
    """Returns the seconds of the fastest of several tries."""
    times = []
    for _ in range(tries):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)


def vision(bundle: Bundle, patches: int) -> Work:
    """Counts the vision tower's work on one page of ``patches`` patches."""
    tower, hidden, levels = bundle.model["vision"], bundle.model["hidden_size"], bundle.model["levels"]
    width, inner, depth = tower["hidden_size"], tower["intermediate_size"], tower["depth"]
    values, merged = 3 * bundle.image.patch_size**2, bundle.image.merge_size**2
    tokens, wide = patches // merged, width * merged
    weights = values * width + depth * (4 * width**2 + 2 * width * inner) + levels * (wide**2 + wide * hidden)
    per_patch = values * width + depth * (4 * width**2 + 2 * width * inner + 2 * patches * width)
    operations = 2 * (patches * per_patch + tokens * levels * (wide**2 + wide * hidden))
    return Work(operations, BYTES[bundle.precision] * (weights + tokens * levels * hidden) + patches * values)


def prune(bundle: Bundle, visual: int, compared: int) -> Work:
    """Counts the cosines of ``visual`` visual tokens with ``compared`` text tokens."""
    hidden = bundle.model["hidden_size"]
    return Work(2 * visual * compared * hidden, BYTES[bundle.precision] * (visual + compared) * hidden)


def decoder(bundle: Bundle, text: int, kept: int) -> Work:
    """Counts the work of one pass over ``text + kept`` tokens.

    In the last layer, queries, output projection and MLP are computed for the last position only.
    """
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


def rows(
    ours: Ours, latencies: Sequence[dict[str, Any]], pruning: Mapping[float, Share], rates: Rates
) -> Iterator[dict[str, Any]]:
    """Yields one bundle's rows: the vision tower, and the pruning operator and decoder at each keep ratio.

    Without a profile of the pass (on a GPU), the operator's work counts towards the decoder.

    Args:
        ours: ziprerank on the case.
        latencies: rows of the case.
        pruning: the operator's share of a pass by keep ratio.
        rates: of this machine.
    """
    case, bundle = ours.case, ours.case.bundle
    medians = {
        row["keep_ratio"]: {stage: times["p50"] for stage, times in row["stages_ms"].items()}
        for row in latencies
        if (row["system"], row["start"]) == (OURS, FILE)
        and (row["precision"], row["blank"]) == (ours.precision, ours.blank)
    }
    tower = sum((vision(bundle, len(read) * bundle.image.merge_size**2) for read in ours.read), Work(0, 0))
    yield _row(ours, "vision", None, tower, medians[0.5]["vision"], rates)

    prompt = PromptBuilder(bundle).build(bundle_query(case), case.plan.width)
    text = len(prompt.text_ids) - case.plan.width
    pages = [(len(read), rows * cols) for read, (rows, cols) in zip(ours.read, ours.grids, strict=True)]
    windows = [pages[start : start + case.plan.width] for start in case.plan.starts]
    compared = compared_tokens(case)
    pruned = sum((prune(bundle, sum(read for read, _ in window), compared) for window in windows), Work(0, 0))
    for keep_ratio in KEEP_RATIOS:
        passes = Work(0, 0)
        for window in windows:
            kept = sum(min(read, max(1, round(keep_ratio * count))) for read, count in window)
            passes += decoder(bundle, text, kept)
        if keep_ratio in pruning and keep_ratio < 1:  # at 1 the operator keeps all tokens without comparing
            row = _row(ours, "prune", keep_ratio, pruned, medians[keep_ratio]["prune"], rates)
            yield {**row, "share_of_pass": float(f"{pruning[keep_ratio].share:.3g}")}
        elif keep_ratio < 1:
            passes += pruned
        yield _row(ours, "decoder", keep_ratio, passes, medians[keep_ratio]["decoder"], rates)


def bundle_query(case: Case) -> str:
    """Returns the case's query in the form that the bundle's prompt takes."""
    return PromptBuilder(case.bundle).check_query(case.query)


def compared_tokens(case: Case) -> int:
    """Counts the text tokens that each visual token is compared with."""
    prompt = PromptBuilder(case.bundle).build(bundle_query(case), case.plan.width)
    if prompt.query_mask is not None:
        return int(prompt.query_mask.sum())
    tokens = case.bundle.tokens
    before = prompt.text_ids[: prompt.text_ids.tolist().index(tokens.image_pad)]
    return int((~np.isin(before, [tokens.vision_start, tokens.vision_end])).sum())


def _row(
    ours: Ours, stage: str, keep_ratio: float | None, work: Work, measured_ms: float, rates: Rates
) -> dict[str, Any]:
    limit = rates.limit_ms(work)
    return {
        "what": "limit",
        "precision": ours.precision,
        "blank": ours.blank,
        "stage": stage,
        "keep_ratio": keep_ratio,
        "gflop": float(f"{work.operations / 1e9:.4g}"),
        "mb": float(f"{work.bytes / 1e6:.4g}"),
        "limit_ms": float(f"{limit:.4g}"),
        "measured_ms": measured_ms,
        "fraction": float(f"{limit / measured_ms:.3g}"),
    }
