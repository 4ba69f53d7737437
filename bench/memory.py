"""Peak memory of each system: a new process loads it, answers one query from the PDF, and says how far it got.

Imports and weights count: it is what the machine needs. Only where /proc says so (Linux): a process inherits the peak
that ``getrusage`` reports from the one that started it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ziprerank.bundle import Bundle

from .cases import Case

STATUS = Path("/proc/self/status")
SYSTEMS = ("ziprerank", "transformers", "transformers_pruned", "autoregressive", "pointwise")
KEEP_RATIO = 0.5  # of the systems that prune


def rows(case: Case, checkpoint: Path, batch: int, systems: Sequence[str]) -> Iterator[dict[str, Any]]:
    """One row per system, pointwise in batches of ``batch`` pages; none where the peak cannot be read."""
    if not STATUS.is_file():
        return
    for system in systems:
        task = {
            "system": system,
            "checkpoint": str(checkpoint),
            "bundle": str(case.bundle.path),
            "pdf": str(case.pdf),
            "query": case.query,
            "numbers": case.numbers,
            "batch": batch,
        }
        command = [sys.executable, "-m", f"{__package__}.memory", json.dumps(task)]
        peak = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
        yield {
            "what": "memory",
            "system": system,
            "keep_ratio": KEEP_RATIO if system in ("ziprerank", "transformers_pruned") else 1.0,
            "peak_mb": peak,
        }


def run_once(task: dict[str, Any]) -> None:
    """One query from the PDF, by one system."""
    bundle = Bundle.load(task["bundle"], check="size")
    case = Case(Path(task["pdf"]), task["query"], tuple(task["numbers"]), bundle)
    if task["system"] == "ziprerank":
        from ziprerank import Reranker

        reranker = Reranker.from_bundle(bundle.path, check="size")
        reranker.rank(case.query, case.source, keep_ratio=KEEP_RATIO, window=case.plan.width)
        return
    from transformers.utils import logging
    from ziprerank.export.manifest import read_manifest

    from .baselines import Baselines
    from .torch_model import TorchModel

    logging.disable_progress_bar()
    image = read_manifest(bundle.path)["image"]
    baselines = Baselines(TorchModel(Path(task["checkpoint"]), bundle, image["mean"], image["std"]), case)
    pages = baselines.prepare()
    if task["system"] == "transformers":
        baselines.single_pass(pages)
    elif task["system"] == "transformers_pruned":
        baselines.pruned(pages, KEEP_RATIO)
    elif task["system"] == "autoregressive":
        baselines.listwise(pages)
    else:
        baselines.batch = task["batch"]
        baselines.pointwise(pages)


def peak_mb() -> float:
    """Peak resident memory of this process."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return round(int(line.split()[1]) / 1024, 1)


if __name__ == "__main__":
    run_once(json.loads(sys.argv[1]))
    print(peak_mb())
