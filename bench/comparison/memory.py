"""Peak memory of each system: a new process loads it, answers one query from the PDF and reports its peak.

The peak includes imports and weights.
It is read from /proc and so on Linux only, since a process inherits the peak of ``getrusage`` from its parent.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ziprerank import Reranker
from ziprerank.bundle import Bundle
from ziprerank.export.manifest import read_manifest
from ziprerank.runtime.engine import EngineOptions, load_engine
from ziprerank.runtime.memory import peak_bytes

from .cases import OURS, OURS_POINTWISE, Case
from .nvml import between, energy_counter, memory_mb

if TYPE_CHECKING:
    from .baselines import Baselines
    from .ours import Ours

STATUS = Path("/proc/self/status")
BOTH = (OURS, OURS_POINTWISE)
SYSTEMS = (*BOTH, "transformers", "transformers_pruned", "autoregressive", "pointwise")
QUICK = SYSTEMS[:3]
KEEP_RATIO = 0.5  # of the systems that prune


def rows(
    systems: Sequence[Ours], baselines: Baselines, checkpoint: Path, names: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yields one row per system, and for ziprerank one per bundle; none where the peak cannot be read."""
    for name in names if STATUS.is_file() else ():
        for ours in [one for one in systems if one.name == name] if name in BOTH else systems[:1]:
            blank = ours.blank if name in BOTH else "keep"
            options: dict[str, str | int] = {"checkpoint": str(checkpoint), "provider": ours.provider}
            options |= {"batch": baselines.page_by_page.batch, "page_bundle": str(baselines.page_by_page.bundle.path)}
            yield {
                "what": "memory",
                "system": name,
                "precision": ours.precision if name in BOTH else baselines.model.precision,
                "blank": blank,
                "keep_ratio": KEEP_RATIO if name in (OURS, "transformers_pruned") else 1.0,
                **of_query(name, ours.case, blank=blank, **options),
            }


def of_query(system: str, case: Case, **options: Any) -> dict[str, float | None]:
    """Answers one query in a new process.

    Args:
        system: one of `SYSTEMS`.
        case: pages and query.
        **options: ``provider`` and ``blank``; for systems on PyTorch also ``checkpoint``, ``batch``, and
            ``page_bundle``, with the prompt of the pointwise one.

    Returns:
        ``peak_mb``, the peak resident memory, and ``gpu_mb``, the GPU memory in use, None on a CPU.
    """
    image = case.bundle.image
    task = {
        "system": system,
        "bundle": str(case.bundle.path),
        "longest_side": image.longest_side,
        "dpi": image.dpi,
        "pdf": str(case.pdf),
        "query": case.query,
        "numbers": case.numbers,
        "provider": "cpu",
        **options,
    }
    used = memory_mb(task["provider"])
    command = [sys.executable, "-m", __name__, json.dumps(task)]
    said = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
    return {"peak_mb": said["peak_mb"], "gpu_mb": between(used, said["gpu_used_mb"])}


def run_once(task: dict[str, Any]) -> None:
    """Answers one query from the PDF with the system that ``task`` names."""
    bundle = Bundle.load(task["bundle"], check="size")
    image = replace(bundle.image, longest_side=task["longest_side"], dpi=task["dpi"])
    case = Case(Path(task["pdf"]), task["query"], tuple(task["numbers"]), replace(bundle, image=image))
    if task["system"] in BOTH:
        reranker = Reranker(
            case.bundle, load_engine(case.bundle, EngineOptions(provider=task["provider"], blank=task["blank"]))
        )
        keep_ratio = KEEP_RATIO if task["system"] == OURS else 1.0
        reranker.rank(case.query, case.source, keep_ratio=keep_ratio, **case.options)
        return
    from transformers.utils import logging

    from .baselines import Baselines
    from .torch_model import TorchModel

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    rules = read_manifest(bundle.path)["image"]
    model = TorchModel(Path(task["checkpoint"]), case.bundle, rules["mean"], rules["std"], task["provider"])
    baselines = Baselines(model, case, energy_counter("cpu"), Bundle.load(task["page_bundle"], check="size"))
    pages = baselines.prepare()
    if task["system"] == "transformers":
        baselines.single_pass(pages)
    elif task["system"] == "transformers_pruned":
        baselines.pruned(pages, KEEP_RATIO)
    elif task["system"] == "autoregressive":
        baselines.listwise(pages)
    else:
        baselines.page_by_page.batch = task["batch"]
        baselines.pointwise(pages)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    run_once(given)
    print(json.dumps({"peak_mb": round(peak_bytes() / 2**20, 1), "gpu_used_mb": memory_mb(given["provider"])}))
