"""Keeps what ``ziprerank eval`` reported, and writes it as a table for docs/evaluation.md.

    python -m bench.evaluation OUT [OUT ...]

Each OUT is the folder of a finished run of ``ziprerank eval`` on the questions of ``bench.quality.fetch``, or on those
about some of its documents.
A system's row holds its measures over all queries and by document, and what a query takes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "evaluation_cpu.jsonl"
MEASURES = ("recall@1", "recall@3", "recall@5", "ndcg@5", "mrr@10")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="+")
    folders = parser.parse_args().out
    reports = [json.loads((folder / "report.json").read_text(encoding="utf-8")) for folder in folders]
    lines = [json.dumps(row, ensure_ascii=False) for report in reports for row in rows_of(report)]
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def rows_of(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns a row for each system of a report."""
    return [
        {
            "what": "evaluation",
            "system": system["name"],
            "queries": report["queries"]["judged"],
            "settings": report["settings"]["systems"].get(system["name"]),
            **{measure: system["micro"][measure] for measure in MEASURES},
            "documents": {
                name: {measure: group[measure] for measure in MEASURES} for name, group in system["groups"].items()
            },
            **{name: system[name] for name in ("ms", "ms a page", "processor ms a page") if name in system},
            **report["machine"],
        }
        for system in report["systems"]
    ]


def by_document() -> str:
    """Returns a table of recall@1 by document; a system that ranked some documents only has no value for the others."""
    rows = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    documents = sorted({name for row in rows for name in row["documents"]})
    wide = max(len(row["documents"]) for row in rows)
    heads = ["system", "recall@1", "recall@3", "recall@5", *documents]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    seen = set()
    for row in sorted(rows, key=lambda row: len(row["documents"]), reverse=True):
        if row["system"] in seen:
            continue
        seen.add(row["system"])
        whole = len(row["documents"]) == wide
        cells = [f"{row[measure]:.4f}" if whole else "" for measure in heads[1:4]]
        found = (row["documents"].get(name) for name in documents)
        cells += ["not measured" if one is None else f"{one['recall@1']:.3f}" for one in found]
        lines.append(f"| {row['system']} | {' | '.join(cells)} |")
    reads = {row["system"]: _reading(row) for row in reversed(rows) if "ms a page" in row}
    machine = f"{rows[0]['cores']} cores of an {rows[0]['processor']}, ONNX Runtime {rows[0]['onnxruntime']}"
    told = "Recall@1 by document, 40 queries each; the first three columns are over all documents."
    return "\n".join([f"{told}\nMeasured on {machine}.", "", *lines, "", *reads.values()])


def _reading(row: dict[str, Any]) -> str:
    if "processor ms a page" in row:
        return f"{row['system']} took {row['processor ms a page']:,.0f} ms of processor time to read a page."
    return f"{row['system']} took {row['ms a page']:.1f} ms to read a page, beside other work."


if __name__ == "__main__":
    main()
