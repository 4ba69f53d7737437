"""How much memory this process has held."""

from __future__ import annotations

import resource
from pathlib import Path


def peak_bytes() -> int:
    """Returns the most resident memory that this process has held so far, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux, whose ru_maxrss counts the parent as well
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
