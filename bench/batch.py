"""Measures ``ziprerank batch`` with 1 and 2 workers: rows a second over 40 documents and 5 queries.

    python -m bench.batch FILE.pdf OUT.jsonl [--bundle BUNDLE] [--rounds 5]

A document is a few pages of the PDF.
Every run is a new process that writes to an empty folder, and its time includes the start of its workers.
Runs take turns; a ratio is the median over rounds of one worker's time divided by two workers' time in the same round.
The engines of a run divide the CPUs among them.
The rows that both wrote are compared before their times are.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ziprerank.batch.parts import read_part
from ziprerank.bundle import Bundle
from ziprerank.comparison import machine
from ziprerank.inputs.pages import open_pages

QUERIES = ("dividend shareholders", "how to upgrade a package", "fish soup", "annual meeting", "table of contents")
DOCUMENTS = 40
WORKERS = (1, 2)
NEAR = 1e-4  # allowed difference of logits between engines with other numbers of threads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pdf", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    bundle = Bundle.load(options.bundle)
    with tempfile.TemporaryDirectory() as scratch:
        pages = write_job(Path(scratch) / "rows.jsonl", options.pdf.absolute(), bundle)
        seconds = measure(Path(scratch), bundle.path, options.rounds)
    rows = DOCUMENTS * len(QUERIES)
    ratio = float(np.median(np.array(seconds[1]) / np.array(seconds[2])))
    row = {
        "what": "batch",
        "document": options.pdf.name,
        "model": bundle.source.get("name"),
        "rows": rows,
        "pages_a_row": pages,
        "rounds": options.rounds,
        "seconds": {str(workers): machine.quantiles(seconds[workers]) for workers in WORKERS},
        "rows_a_second": {str(workers): rows / float(np.median(seconds[workers])) for workers in WORKERS},
        "two_workers_by_one": ratio,
    } | machine.describe()
    print(json.dumps(row, indent=1))
    options.out.write_text(json.dumps(row) + "\n", encoding="utf-8")


def write_job(table: Path, pdf: Path, bundle: Bundle) -> int:
    """Writes the batch's rows to ``table`` and returns the number of pages of a document."""
    with open_pages(pdf, bundle.image) as found:
        size = len(found) // DOCUMENTS
    if size < 1:
        raise SystemExit(f"{pdf} has fewer than {DOCUMENTS} pages, one a document: pass a longer PDF")
    rows = [
        {"query": query, "documents": str(pdf), "pages": f"{number * size + 1}-{(number + 1) * size}"}
        for number in range(DOCUMENTS)
        for query in QUERIES
    ]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return size


def measure(scratch: Path, bundle: Path, rounds: int) -> dict[int, list[float]]:
    """Returns the seconds of each round by number of workers. Raises SystemExit if the runs' logits differ."""
    seconds: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    for number in range(rounds):
        results = []
        for workers in WORKERS:
            out = scratch / f"{number}-{workers}"
            command: list[str | Path] = [sys.executable, "-m", "ziprerank.cli", "batch", scratch / "rows.jsonl", out]
            started = time.perf_counter()
            subprocess.run([*command, "--bundle", bundle, "--workers", str(workers)], check=True, stdout=sys.stderr)
            seconds[workers].append(time.perf_counter() - started)
            results.append(logits(out))
        if any(not np.allclose(results[0][name], row, atol=NEAR) for name, row in results[1].items()):
            raise SystemExit(f"the runs' logits differ by more than {NEAR}: their times are not comparable")
    return seconds


def logits(out: Path) -> dict[str, list[float]]:
    """Returns the logits of each row's pages, in the document's order."""
    rows: list[dict[str, Any]] = [row for part in sorted(out.glob("part-*")) for row in read_part(part)]
    return {
        row["id"]: [page["score"] for page in sorted(row["results"], key=lambda page: page["page"])] for row in rows
    }


if __name__ == "__main__":
    main()
