"""ziprerank page by page against transformers' pointwise batches, and against itself with letters, in one run.

    python -m bench.pointwise FILE.pdf OUT.jsonl [--pages 20] [--longest-side 1024] [--rounds 3]

All systems run the weights of the model in the box on the same pages, and take turns; ratios are of the same round, so
that other work on the machine falls on both sides.
Before anything is timed, ziprerank's log-odds must be those of the pointwise system and of transformers' ``forward``.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from ziprerank.bundle import Blank
from ziprerank.comparison import machine, memory
from ziprerank.comparison.agreement import Agreement
from ziprerank.comparison.baselines import POINTWISE, Baselines
from ziprerank.comparison.bundles import blanks, load_bundles, with_pages_of
from ziprerank.comparison.cases import Case, Sample, System, at_size, distinct_pages
from ziprerank.comparison.nvml import energy_counter
from ziprerank.comparison.ours import Ours
from ziprerank.comparison.torch_model import TorchModel
from ziprerank.export.manifest import read_manifest
from ziprerank.train.checkpoint import put_together

QUERY = "how do I upgrade a package"
KEEP_RATIO = 0.5  # of ziprerank with letters
BLANKS: tuple[Blank, ...] = ("keep", "drop")
BATCH = 4  # of the pointwise system: the fastest one in results/compare_cpu.jsonl

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.pointwise", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pdf", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pages", type=int, default=20)
    parser.add_argument("--longest-side", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    common = {
        "document": options.pdf.name,
        "checkpoint": "default",
        "candidates": options.pages,
        "longest_side": options.longest_side,
        **machine.describe(),
        "torch": torch.__version__,
        "transformers": metadata.version("transformers"),
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 2),
    }
    with tempfile.TemporaryDirectory() as scratch, options.out.open("w", encoding="utf-8") as file:
        for row in measure(options.pdf, options.pages, options.longest_side, options.rounds, Path(scratch)):
            file.write(json.dumps({**row, **common, "load_after": round(os.getloadavg()[0], 2)}) + "\n")
            file.flush()
            print(row, flush=True)


def measure(pdf: Path, pages: int, longest_side: int, rounds: int, scratch: Path) -> Iterator[Row]:
    """Yields rows of agreement, then of latency with ratios, then of peak memory.

    Args:
        pdf: with that many distinct pages.
        pages: to rank.
        longest_side: of a page, in px.
        rounds: of all systems, after one that is not counted.
        scratch: for the checkpoint and its bundles.
    """
    checkpoint = put_together("default", scratch / "checkpoint")
    listwise, pointwise = load_bundles((), checkpoint, "cpu", scratch)
    (rules,) = (at_size(bundle, longest_side) for bundle in listwise.values())
    (single,) = (with_pages_of(rules, bundle) for bundle in pointwise.values())
    numbers, energy = distinct_pages(pdf, rules, pages), energy_counter("cpu")
    window, page_by_page = (Case(pdf, QUERY, numbers, bundle) for bundle in (rules, single))
    by_letters = Ours(window, "fp32", blanks(rules)[0], "cpu", energy)
    single_pages = [Ours(page_by_page, "fp32", blank, "cpu", energy) for blank in BLANKS]
    image = read_manifest(rules.path)["image"]
    baselines = Baselines(TorchModel(checkpoint, rules, image["mean"], image["std"]), window, energy, single)
    yield from Agreement().page_by_page(single_pages, baselines)
    baselines.page_by_page.batch = BATCH

    units: list[Callable[[], list[Sample]]] = [lambda: baselines.pointwise(baselines.prepare())]
    for ours, keep_ratio in [*((one, 1.0) for one in single_pages), (by_letters, KEEP_RATIO)]:
        units += [lambda ours=ours, ratio=keep_ratio: [ours.first_query(ratio), ours.next_query(ratio)]]  # type: ignore[misc]
    found: dict[Any, list[Sample]] = defaultdict(list)
    for number in range(rounds + 1):
        for unit in units:
            for sample in unit():
                if number:
                    found[sample.system, sample.start].append(sample)
                print(
                    f"round {number}: {sample.system.name} {sample.system.blank} {sample.start} {sample.total:.0f} ms",
                    flush=True,
                )
    yield from latencies(found)
    yield from memory.rows([by_letters, *single_pages], baselines, checkpoint, (*memory.BOTH, POINTWISE))


def latencies(found: Mapping[tuple[System, str], Sequence[Sample]]) -> Iterator[Row]:
    """Yields a row for each system and start, given the samples of all rounds."""
    theirs = {start: samples for (system, start), samples in found.items() if system.name == POINTWISE}
    for (system, start), samples in found.items():
        ratios = [slow.total / fast.total for slow, fast in zip(theirs[start], samples, strict=True)]
        yield {
            "what": "latency",
            "system": system.name,
            "precision": system.precision,
            "blank": system.blank,
            "keep_ratio": system.keep_ratio,
            "start": start,
            "runs": len(samples),
            "total_ms": machine.quantiles([sample.total for sample in samples]),
            "stages_ms": {
                stage: machine.quantiles([sample.stages[stage] for sample in samples]) for stage in samples[0].stages
            },
            "text_tokens": samples[0].text_tokens,
            "visual_tokens": samples[0].visual_tokens,
            "kept_tokens": samples[0].kept_tokens,
            "times_faster": machine.quantiles(ratios),
            **({"batch": BATCH} if system.name == POINTWISE else {}),
        }


if __name__ == "__main__":
    main()
