"""Measures each precision on the CPU: time, memory, size, and how well its rankings agree with those of fp32.

    python -m bench.precision CHECKPOINT FILE.pdf OUT.jsonl --query "apt package manager" --query "bug reports"

Every precision is exported from one checkpoint.
Passes are interleaved, and a ratio is the median over rounds of one precision's time divided by fp32's in the same
round, so that a busy machine does not favour either.
Memory is the peak of a new process that answers the first query.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ziprerank import Reranker
from ziprerank.bundle import Bundle
from ziprerank.cli.bundle_comparison import compare_bundles, read_pages
from ziprerank.comparison import machine, memory
from ziprerank.comparison.cases import Case
from ziprerank.export import ExportOptions, export_checkpoint

PRECISIONS = ("fp32", "int8", "int8-dynamic", "int4")
REPORTED = ("keep_ratio", "passes", "kendall_tau", "top1", "max_logit_error", "kept_overlap")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("pdf", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--query", action="append", required=True, help="what to look for; may be repeated")
    parser.add_argument("--pages", type=int, default=20, help="first pages of the PDF to rank in one pass; default 20")
    parser.add_argument("--rounds", type=int, default=11, help="timed passes of each precision; default 11")
    parser.add_argument("--threads", type=int, default=0, help="of the engine; 0 lets ONNX Runtime choose")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bundles = {name: Path(scratch) / name for name in PRECISIONS}
        for name, out in bundles.items():
            export_checkpoint(options.checkpoint, out, ExportOptions(precision=name))
        rows = measure(bundles, options.pdf, options.query, options.pages, options.rounds, options.threads)
    common = {"checkpoint": Path(options.checkpoint).name, "document": options.pdf.name, **machine.describe()}
    options.out.write_text("".join(json.dumps({**row, **common}) + "\n" for row in rows), encoding="utf-8")


def measure(
    bundles: dict[str, Path], pdf: Path, queries: list[str], count: int, rounds: int, threads: int
) -> list[dict[str, Any]]:
    """Returns one row for each precision."""
    pages = read_pages([pdf], Bundle.load(bundles["fp32"]).image)[pdf.name][:count]
    times = interleaved(bundles, pages, queries[0], rounds, threads)
    rows = []
    for name, bundle in bundles.items():
        ratios = {stage: times[name][stage] / times["fp32"][stage] for stage in ("vision", "rerank")}
        agreement = compare_bundles(
            bundles["fp32"], bundle, {pdf.name: pages}, queries, provider="cpu", threads=threads
        )
        row = {
            "what": "precision",
            "precision": name,
            "pages": len(pages),
            "rounds": rounds,
            "threads": threads,
            "vision_ms": machine.quantiles(times[name]["vision"].tolist()),
            "rerank_ms": machine.quantiles(times[name]["rerank"].tolist()),
            "vision_by_fp32": round(float(np.median(ratios["vision"])), 3),
            "rerank_by_fp32": round(float(np.median(ratios["rerank"])), 3),
            "bundle_mb": round(sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file()) / 1e6, 1),
            "peak_mb": memory.of_query(
                "ziprerank", Case(pdf, queries[0], tuple(range(1, len(pages) + 1)), Bundle.load(bundle, check="size"))
            )["peak_mb"],
            "agreement": [{name: getattr(one, name) for name in REPORTED} for one in agreement],
        }
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


def interleaved(
    bundles: dict[str, Path], pages: list[Any], query: str, rounds: int, threads: int
) -> dict[str, dict[str, Any]]:
    """Returns the milliseconds of each round by precision and stage, on new pages and without pruning."""
    rerankers = {name: Reranker.from_bundle(bundle, threads=threads) for name, bundle in bundles.items()}
    times: dict[str, dict[str, list[float]]] = {name: {"vision": [], "rerank": []} for name in bundles}
    for number in range(rounds + 1):
        moved = [np.roll(page, number, axis=0) for page in pages]  # other pixels, so that no page is in the pool
        for name, reranker in rerankers.items():
            timings = reranker.rank(query, moved, keep_ratio=1.0, window="off").timings
            if number:  # the first round is a warm-up
                times[name]["vision"].append(timings.vision)
                times[name]["rerank"].append(timings.rerank)
    return {name: {stage: np.array(values) for stage, values in stages.items()} for name, stages in times.items()}


if __name__ == "__main__":
    main()
