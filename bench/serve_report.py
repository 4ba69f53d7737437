"""Writes a row of ``python -m bench.serve`` as Markdown for docs/serve.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .serve_attacks import ANNOUNCED, SILENT

RESULTS = Path(__file__).parent / "results" / "serve_cpu.jsonl"


def under_load() -> str:
    """Returns the table of the committed row."""
    return table(json.loads(RESULTS.read_text(encoding="utf-8")))


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
