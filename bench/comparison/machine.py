"""The machine and versions that every results row records, and quantiles of samples."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

CLONE = Path(__file__).resolve().parents[2]  # the clone's root, if this file lies in one


def describe() -> dict[str, Any]:
    """Returns processor, cores and versions, and in a clone the commit."""
    import onnxruntime

    cpuinfo = Path("/proc/cpuinfo")
    model = next(
        (line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")),
        platform.processor(),
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,  # of whichever distribution is installed
        "numpy": metadata.version("numpy"),
        "ziprerank": metadata.version("ziprerank"),
        "commit": commit(),
    }


def quantiles(samples: Sequence[float]) -> dict[str, float]:
    """Returns p20, p50 and p80, rounded to 4 significant digits."""
    return {f"p{q}": float(f"{np.percentile(samples, q):.4g}") for q in (20, 50, 80)}


def commit() -> str | None:
    """Returns the clone's short commit hash.

    ``+changes`` is appended if tracked files other than results differ from it.
    None outside a clone, and where git cannot be run.
    """
    if not (CLONE / ".git").exists():
        return None
    try:
        changed = _git("status", "--porcelain", "-uno", "--", ":/", ":(exclude,top)bench/results")
        return _git("rev-parse", "--short", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(CLONE), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
