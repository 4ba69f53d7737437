"""How much memory a process has held."""

from __future__ import annotations

import os
import resource
from pathlib import Path


def peak_bytes(process: int | None = None) -> int:
    """Returns the most resident memory that a process has held so far, in bytes.

    Args:
        process: Its id; None is this process. Another one can be asked about on Linux only.

    Raises:
        OSError: There is no such process, or this is not Linux.
    """
    status = Path(f"/proc/{process or os.getpid()}/status")
    if process is None and not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS; Linux counts the parent as well
    line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
