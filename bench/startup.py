"""Measures a cold start: wall time and peak memory of ``ziprerank rank`` on 20 pages, in a new process each time.

    python -m bench.startup FILE.pdf OUT.jsonl

The first run fills the system's file cache and is left out.
``without_vision_s`` is the wall time less the vision tower's: Python's start, imports, checksums, loading the engine,
rendering, and the passes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from ziprerank.comparison import machine

RUNS = 11
QUERY = "apt package manager upgrade"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pdf", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "ziprerank.cli", "rank", QUERY, str(arguments.pdf), "--pages", "1-20", "--json"]
    runs = [cold_run(command) for _ in range(RUNS + 1)][1:]
    row = {
        "what": "cold start",
        "document": arguments.pdf.name,
        "pages": 20,
        "runs": RUNS,
        "wall_s": machine.quantiles([wall for wall, _, _ in runs]),
        "without_vision_s": machine.quantiles([wall - vision for wall, vision, _ in runs]),
        "peak_rss_mb": machine.quantiles([memory for _, _, memory in runs]),
        **machine.describe(),
    }
    print(json.dumps(row, indent=1))
    arguments.out.write_text(json.dumps(row) + "\n", encoding="utf-8")


def cold_run(command: list[str]) -> tuple[float, float, float]:
    """Runs the command; returns the seconds in all, the seconds of the vision tower, and the peak resident MB."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    if status != 0:
        raise RuntimeError(f"{' '.join(command)} failed with status {status}")
    return wall, json.loads(output)["timings_ms"]["vision"] / 1e3, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
