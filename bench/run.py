"""One command, one run: ziprerank against what users would run instead, on the same weights, pages and machine.

    python -m bench OUT.jsonl [--pdf FILE.pdf] [--checkpoint DIRECTORY] [--quick]

For each number of candidates and each page size: the bundle is exported from the checkpoint, all systems are checked to
give the same logits (bench/agreement.py), everything runs once to warm up, then in rounds, the systems after one
another in each: A B C A B C. Rows hold p20, p50 and p80 over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pypdfium2 as pdfium
import torch
from transformers.utils import logging
from ziprerank.bundle import Bundle
from ziprerank.export import export_checkpoint
from ziprerank.export.manifest import read_manifest

from . import limits, machine, memory, ratios
from .agreement import agreement_rows
from .baselines import Baselines
from .cases import KEEP_RATIOS, Case, Sample, distinct_pages
from .ours import Ours
from .torch_model import TorchModel

ROOT = Path(__file__).parents[1]
QUERY = "dividend shareholders board directors"
CANDIDATES = (1, 2, 5, 10, 20, 50)
SETTLE_S = 0.02  # between systems: threads that spin after their work give the cores back


def main() -> None:
    options = parse()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    common = {
        "document": options.pdf.name,
        "checkpoint": options.checkpoint.resolve().name,
        **machine.describe(),
        "torch": torch.__version__,
        "transformers": metadata.version("transformers"),
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 2),  # threads of others share the cores: near 0, or run it again
    }
    rows = []
    with options.out.open("w", encoding="utf-8") as out:
        for row in measure(options):
            rows.append(row)
            out.write(json.dumps({**row, **common}) + "\n")
            out.flush()
    print(ratios.table(rows))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="rows, one JSON object a line")
    parser.add_argument("--pdf", type=Path, default=ROOT / "python" / "examples" / "sample.pdf")
    parser.add_argument("--query", default=QUERY)
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "train" / "checkpoints" / "starter")
    parser.add_argument(
        "--candidates", type=int, nargs="+", help=f"pages; default: those of {CANDIDATES} that the PDF has"
    )
    parser.add_argument(
        "--longest-side", type=int, nargs="+", help="px of a page; default: the checkpoint's own, and 1024"
    )
    parser.add_argument("--rounds", type=int, default=9, help="at most; default 9")
    parser.add_argument(
        "--case-seconds", type=float, default=30.0, help="time for the rounds of one case, at least 3; default 30"
    )
    parser.add_argument(
        "--max-tokens", type=int, default=6000, help="cases with more visual tokens are left out; default 6000"
    )
    parser.add_argument("--quick", action="store_true", help="2 candidates, 1 round: shows that it works, no more")
    options = parser.parse_args()
    with pdfium.PdfDocument(options.pdf) as document:
        held = len(document)
    if options.candidates is None:
        options.candidates = [2] if options.quick else [count for count in CANDIDATES if count <= held]
    if options.longest_side is None:
        options.longest_side = [None] if options.quick else [None, 1024]
    if options.quick:
        options.rounds = 1
    if not 1 <= min(options.candidates) <= max(options.candidates) <= held:
        parser.error(f"{options.pdf} has {held} pages, candidates are {options.candidates}: choose 1..{held}")
    return options


def measure(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All rows: for each page size its cases; for the first one peak memory at the most candidates of one pass."""
    rates = limits.Rates.measure(quick=options.quick)
    yield {"what": "machine rates", **rates.row()}
    for longest_side in options.longest_side:
        with tempfile.TemporaryDirectory() as scratch:
            folder = export_checkpoint(str(options.checkpoint), Path(scratch) / "bundle", longest_side=longest_side)
            bundle = Bundle.load(folder)
            image = read_manifest(folder)["image"]
            model = TorchModel(options.checkpoint, bundle, image["mean"], image["std"])
            numbers = distinct_pages(options.pdf, bundle, max(options.candidates))
            largest: tuple[Case, int] | None = None  # in one pass, with the batch of the pointwise system
            for pages in options.candidates:
                case = Case(options.pdf, options.query, numbers[:pages], bundle)
                tokens = case.visual_tokens()
                if tokens > options.max_tokens:
                    print(f"left out: {pages} pages of {bundle.image.longest_side} px, {tokens} visual tokens")
                    continue
                ours, baselines = Ours(case), Baselines(model, case)
                for row in case_rows(ours, baselines, options, rates):
                    yield {"candidates": pages, "longest_side": bundle.image.longest_side, **row}
                if len(case.plan.starts) == 1 and (largest is None or largest[0].pages < pages):
                    largest = case, baselines.batch
            if largest is not None and longest_side == options.longest_side[0]:
                systems = memory.SYSTEMS[:2] if options.quick else memory.SYSTEMS
                for row in memory.rows(largest[0], options.checkpoint, largest[1], systems):
                    yield {"candidates": largest[0].pages, "longest_side": bundle.image.longest_side, **row}


def case_rows(
    ours: Ours, baselines: Baselines, options: argparse.Namespace, rates: limits.Rates
) -> Iterator[dict[str, Any]]:
    """Agreement, then times, then each stage of ours against its limit."""
    started = time.perf_counter()
    case = ours.case
    yield from agreement_rows(ours, baselines)
    baselines.choose_batch(baselines.prepare())
    warm, round_s = run_round(ours, baselines)
    rounds = max(min(3, options.rounds), min(options.rounds, int(options.case_seconds / round_s)))
    samples: dict[tuple[object, str], list[Sample]] = defaultdict(list)
    for _ in range(rounds):
        for sample in run_round(ours, baselines)[0]:
            samples[sample.system, sample.start].append(sample)
    first = {(sample.system, sample.start): sample.total for sample in warm}
    latencies = [latency_row(group, first[key], case, baselines) for key, group in samples.items()]
    yield from latencies
    yield from limits.rows(ours, latencies, rates)
    spent = time.perf_counter() - started
    print(f"{case.pages} pages of {case.bundle.image.longest_side} px: {rounds} rounds, {spent:.0f} s", flush=True)


def run_round(ours: Ours, baselines: Baselines) -> tuple[list[Sample], float]:
    """Every system once, and the seconds it took. A first query of ours includes pushing the pages out of its pool,
    which is not timed."""
    started = time.perf_counter()
    samples: list[Sample] = []
    for keep_ratio in KEEP_RATIOS:
        samples.append(settled(lambda ratio=keep_ratio: ours.first_query(ratio)))
        samples.append(settled(lambda ratio=keep_ratio: ours.next_query(ratio)))
    pages = settled(baselines.prepare)
    samples += settled(lambda: baselines.single_pass(pages))
    for keep_ratio in KEEP_RATIOS[1:]:
        samples += settled(lambda ratio=keep_ratio: baselines.pruned(pages, ratio))
    samples += settled(lambda: baselines.pointwise(pages))
    samples += settled(lambda: baselines.listwise(pages))
    return samples, time.perf_counter() - started


def settled(run: Callable[[], Any]) -> Any:
    time.sleep(SETTLE_S)
    return run()


def latency_row(samples: Sequence[Sample], warmup_ms: float, case: Case, baselines: Baselines) -> dict[str, Any]:
    """One system at one start."""
    first = samples[0]
    row = {
        "what": "latency",
        "system": first.system.name,
        "keep_ratio": first.system.keep_ratio,
        "reasoning_tokens": first.system.reasoning,
        "start": first.start,
        "windows": len(case.plan.starts),
        "runs": len(samples),
        "total_ms": machine.quantiles([sample.total for sample in samples]),
        "stages_ms": {stage: machine.quantiles([sample.stages[stage] for sample in samples]) for stage in first.stages},
        "warmup_ms": float(f"{warmup_ms:.4g}"),
        "text_tokens": first.text_tokens,
        "visual_tokens": first.visual_tokens,
        "kept_tokens": first.kept_tokens,
        "generated_tokens": first.generated_tokens,
    }
    return {**row, "batch": baselines.batch} if first.system.name == "pointwise" else row
