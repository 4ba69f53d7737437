"""Measures what page workers cost: a first query over 20 pages, and opening 1,000 pages.

    python -m bench.page_workers FILE.pdf OUT.jsonl [--rounds 15]

Each sample is a new process, which reads files in page workers or by itself (``page_workers="off"``); the two take
turns, and a ratio is the median over rounds of the one's time divided by the other's in the same round. Seconds of a
``process`` count from its start to the first answer, those of a ``query`` from the call to its answer.
``worker_pss_mb`` is what a worker holds after both, with memory that it shares counted in parts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2 as pdfium  # type: ignore[import-untyped]
from ziprerank.comparison import machine

QUERY = "apt package manager upgrade"
MODES = ("auto", "off")
LONG = 1000  # pages
PROGRAM = """
import json, sys, time
from pathlib import Path
mode, query, pdf, long = sys.argv[1:]
from ziprerank import Pdf, Reranker
from ziprerank.inputs.pages import open_pages
from ziprerank.inputs.workers.pool import pool

if mode == "off":
    import ziprerank.inputs.pdf  # as the package did before it had workers

def seconds(step):
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun

reranker = Reranker.from_bundle(page_workers=mode)
spent = seconds(lambda: reranker.rank(query, Pdf(pdf, "1-20")))
print(json.dumps({"answered": time.time()}), flush=True)

def open_long():
    with open_pages(long, reranker.bundle.image, limits=reranker.page_limits) as pages:
        assert len(pages) == 1000

opened = seconds(open_long)
held = []
for pid in pool().pids():
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    held.append(next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1e3)
print(json.dumps({"query": spent, "open_1000": opened, "pss": held}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pdf", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    samples: dict[str, list[dict[str, Any]]] = {mode: [] for mode in MODES}
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        long = Path(scratch) / "long.pdf"
        write_long(options.pdf, long)
        for number in range(options.rounds + 1):  # the first fills the system's file cache
            for mode in MODES if number % 2 else reversed(MODES):
                sample = run(mode, options.pdf, long)
                if number:
                    samples[mode].append(sample)
    row: dict[str, Any] = {"what": "page workers", "document": options.pdf.name, "rounds": options.rounds}
    row["load_before"] = round(load, 2)
    row["load_after"] = round(os.getloadavg()[0], 2)
    for name in ("process", "query", "open_1000"):
        outside, inside = (np.array([sample[name] for sample in samples[mode]]) for mode in MODES)
        row[f"{name}_s"] = {"workers": machine.quantiles(list(outside)), "in_process": machine.quantiles(list(inside))}
        row[f"{name}_ratio"] = float(f"{np.median(outside / inside):.4g}")
    held = [sample["pss"] for sample in samples["auto"]]
    row["workers"] = machine.quantiles([len(one) for one in held])
    row["worker_pss_mb"] = machine.quantiles([memory for one in held for memory in one])
    row |= machine.describe()
    print(json.dumps(row, indent=1))
    options.out.write_text(json.dumps(row) + "\n", encoding="utf-8")


def write_long(pdf: Path, out: Path) -> None:
    """Writes a PDF of ``LONG`` pages: those of ``pdf`` again and again."""
    whole, long = pdfium.PdfDocument(pdf), pdfium.PdfDocument.new()
    while len(long) < LONG:
        long.import_pages(whole, list(range(min(len(whole), LONG - len(long)))))
    long.save(out)


def run(mode: str, pdf: Path, long: Path) -> dict[str, Any]:
    """Runs the program once. Raises CalledProcessError if it fails."""
    begun = time.time()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, mode, QUERY, str(pdf), str(long)], check=True, stdout=subprocess.PIPE, text=True
    )
    answered, measured = (json.loads(line) for line in done.stdout.splitlines())
    sample: dict[str, Any] = {"process": answered["answered"] - begun} | measured
    return sample


if __name__ == "__main__":
    main()
