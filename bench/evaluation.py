"""Keeps what ``ziprerank eval`` reported, and writes it as a table for docs/evaluation.md.

    python -m bench.evaluation OUT [OUT ...]

Each OUT is the folder of a finished run of ``ziprerank eval`` on the questions of ``bench.quality.fetch``, or on those
about some of its documents.
A row of the results that is about the same system and documents is replaced, the others stay.
A system's row holds its measures over all queries and by document, and what a query takes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "evaluation_cpu.jsonl"
MEASURES = ("recall@1", "recall@3", "recall@5", "ndcg@5", "mrr@10")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="+")
    folders = parser.parse_args().out
    reports = [json.loads((folder / "report.json").read_text(encoding="utf-8")) for folder in folders]
    rows = joined(read(), [row for report in reports for row in rows_of(report)])
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read() -> list[dict[str, Any]]:
    """Returns the committed rows."""
    return [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]


def joined(old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the old rows, each replaced by a new one about the same system and documents, then the other new ones."""
    kept = {(row["system"], *sorted(row["documents"])): row for row in (*old, *new)}
    return list(kept.values())


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


def by_document(rows: Sequence[Mapping[str, Any]] | None = None) -> str:
    """Returns a table of recall@1 by document; ``rows`` are the committed ones if None.

    A system's rows on different documents are put together, for every document the first row that has it.
    The columns over all documents are means over their queries, and empty for a system that some documents lack.
    """
    if rows is None:
        rows = read()
    documents = sorted({name for row in rows for name in row["documents"]})
    heads = ["system", *MEASURES[:3], *documents]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for system in dict.fromkeys(row["system"] for row in rows):
        found: dict[str, Mapping[str, float]] = {}
        queries: dict[str, float] = {}
        for row in (row for row in rows if row["system"] == system):
            for name in row["documents"].keys() - found.keys():
                found[name] = row["documents"][name]
                queries[name] = row["queries"] / len(row["documents"])  # every document has the same number of them
        whole = len(found) == len(documents)
        cells = [f"{_mean(found, queries, measure):.4f}" if whole else "" for measure in MEASURES[:3]]
        cells += [f"{found[name]['recall@1']:.3f}" if name in found else "not measured" for name in documents]
        lines.append(f"| {system} | {' | '.join(cells)} |")
    reads = [_reading(row) for row in rows if "ms a page" in row and ("processor ms a page" in row or _wide(row, rows))]
    machine = f"{rows[0]['cores']} cores of an {rows[0]['processor']}, ONNX Runtime {rows[0]['onnxruntime']}"
    told = "Recall@1 by document, 40 queries each; the first three columns are over all documents."
    return "\n".join([f"{told}\nMeasured on {machine}.", "", *lines, "", *reads])


def _mean(found: Mapping[str, Mapping[str, float]], queries: Mapping[str, float], measure: str) -> float:
    return sum(found[name][measure] * queries[name] for name in found) / sum(queries.values())


def _wide(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether no other row of the system has more documents."""
    return len(row["documents"]) == max(len(one["documents"]) for one in rows if one["system"] == row["system"])


def _reading(row: Mapping[str, Any]) -> str:
    if "processor ms a page" in row:
        names = ", ".join(sorted(row["documents"]))
        return f"{row['system']} took {row['processor ms a page']:,.0f} ms of processor time to read a page of {names}."
    return f"{row['system']} took {row['ms a page']:.1f} ms to read a page, beside other work."


if __name__ == "__main__":
    main()
