"""Writes rows of ``python -m bench.serve`` and ``python -m bench.serve_recovery`` as Markdown for docs/operate.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .serve_attacks import ANNOUNCED, SILENT

RESULTS = Path(__file__).parent / "results" / "serve_cpu.jsonl"
ATTACKED = RESULTS.with_name("serve_attacks_cpu.jsonl")
EARLIER = {
    "1,000 silent connections": "503 for everybody, as long as they stay",
    "20 words of 15,000 letters": "one word of 1,000 letters held the service for 27.7 s",
    "a PDF, returned with each page": "with 500 pages an answer of 2.8 GB, 8.4 GB of memory",
    "900,000 small values": "nobody answered for 25 s, 1.3 GB of memory",
    "64 announced bodies": "16 connections kept everybody out",
    "32 unread answers": "1,353 MB, which stayed",
    "8 pictures of 36 million pixels": "1.9 GB stayed",
    "a JPEG of 5,000 scans": "217 s",
    "8 PDFs without end": "504 for everybody from the first on",
}
"""What these attacks did to the service before it had its limits, as found then; not measured again."""


def under_load() -> str:
    """Returns the tables of the committed rows: under load, and under load beside attacks."""
    rows = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    return "\n\n".join(table(row) for row in rows)


def attacked() -> str:
    """Returns the table of the committed rows: what each attack costs, and what it did before there were limits."""
    rows = [json.loads(line) for line in ATTACKED.read_text(encoding="utf-8").splitlines()]
    heads = ("attack", "memory, MB", "files", "longest wait of others", "free again after", "without the limits")
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in rows:
        memory, files = row["rss_mb"], row["files"]
        cells = (
            row["attack"],
            f"{memory['before']:,.0f}, {memory['most']:,.0f}, {memory['after']:,.0f}",
            f"{files['before']}, {files['most']}, {files['after']}",
            f"{row['honest']['longest_s']:.1f} s",
            f"{row['recovered_s']:.1f} s",
            EARLIER[row["attack"]],
        )
        lines.append(f"| {' | '.join(cells)} |")
    first = rows[0]
    refused = {row["attack"]: row["honest"]["statuses"] for row in rows if set(row["honest"]["statuses"]) != {"200"}}
    told = f"Answers other than 200: {refused}." if refused else "All its answers were 200."
    return "\n".join(
        [
            "Each attack meets a new server; memory (page workers included) and open files are those before, at most, "
            "and 5 s after it.",
            f"Meanwhile another client ranks one known page again and again.\n{told}",
            f"Measured on {first['cores']} cores of an {first['processor']}, ONNX Runtime {first['onnxruntime']}.",
            "",
            *lines,
        ]
    )


def table(row: dict[str, Any]) -> str:
    """Returns one row as a table: answers, latency against the bound, memory, and the shutdown by SIGTERM."""
    latency, memory, end = row["latency_s"], row["rss_mb"], row["sigterm"]
    served, turned_away = row["statuses"].get("200", 0), row["statuses"].get("429", 0)
    others = {status: count for status, count in row["statuses"].items() if status not in ("200", "429")}
    answered = end["answered"].get("200", 0)
    lines = [
        f"{row['clients']} clients ask for {row['seconds']:g} s, each with {row['pages']}-page requests from "
        f"{row['document']}.",
        f"The page features are in memory, and at most {row['queue']} requests are under way.",
        f"Measured on {row['processor']}, {row['cores']} cores, ONNX Runtime {row['onnxruntime']}, "
        f"commit {row['commit']}.",
        *_attacks(row),
        "",
        "| | |",
        "|---|---|",
        f"| answered, refused with 429, other statuses | {served:,}, {turned_away:,}, {others or 'none'} |",
        f"| latency of accepted requests, p50 / p95 / p99 | {latency['p50']:.2f} / {latency['p95']:.2f} / "
        f"{latency['p99']:.2f} s |",
        f"| bound: queue x longest pass | {row['queue']} x {row['engine_s']['max']:.2f} = {row['bound_s']:.1f} s |",
        f"| answers that differ from those to one client | {row['different_from_alone']} |",
        f"| resident memory at the start, at the end, at most | {memory['start']:.0f}, {memory['end']:.0f}, "
        f"{memory['most']:.0f} MB |",
        f"| share of a pass spent waiting for pixels, new pages / known pages | {row['waited']['fresh']:.1%} / "
        f"{row['waited']['cached']:.1%} |",
        f"| SIGTERM under load: answered, cut off, seconds to exit {end['exit']} | {answered}, "
        f"{end['broken_connections']}, {end['seconds']:.1f} of {end['drain_s']:g} |",
    ]
    failed = [claim for claim, held in row["holds"].items() if not held]
    if failed:
        lines += ["", "Not held: " + "; ".join(failed) + "."]
    return "\n".join(lines)


def _attacks(row: dict[str, Any]) -> list[str]:
    opened = row.get("attacking_connections", 0)
    if not opened:
        return []
    return [
        f"Meanwhile {SILENT:,} connections send nothing, or a header that does not end, and {ANNOUNCED} requests "
        "announce a body and send one byte of it.",
        f"Those that the service closed were opened again, {opened:,} in all.",
    ]
