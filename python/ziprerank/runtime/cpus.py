"""How many CPUs this process may use."""

from __future__ import annotations

import os


def usable_cpus() -> int:
    """Returns how many CPUs this process may use: those of its affinity mask, at most its control group's quota.

    Where the compiled engine cannot be imported, which ``load_engine`` reports, the quota is left out.
    """
    try:
        from ziprerank._engine import usable_cpus as count
    except ImportError:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return count()
