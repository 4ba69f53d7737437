"""What every results row says about where it was measured, and how samples are summed up."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np


def describe() -> dict[str, Any]:
    """Processor, cores, versions and commit."""
    cpuinfo = Path("/proc/cpuinfo")
    model = next(
        (line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")),
        platform.processor(),
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "onnxruntime": metadata.version("onnxruntime"),
        "numpy": metadata.version("numpy"),
        "ziprerank": metadata.version("ziprerank"),
        "commit": _git("rev-parse", "--short", "HEAD") + ("+changes" if _changed() else ""),
    }


def quantiles(samples: Sequence[float]) -> dict[str, float]:
    """p20, p50 and p80, to 4 digits."""
    return {f"p{q}": float(f"{np.percentile(samples, q):.4g}") for q in (20, 50, 80)}


def _changed() -> bool:
    """Tracked files other than results differ from the commit."""
    return bool(_git("status", "--porcelain", "-uno", "--", ":/", ":(exclude,top)bench/results"))


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
