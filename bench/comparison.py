"""Tables of the rows that ``python -m bench`` wrote, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .cases import STARTS
from .ratios import label

STAGES = ("pages", "tokenize", "vision", "decoder", "generate")
START_NAMES = {"file": "first query, from the PDF", "again": "next query over the same pages"}

Rows = Sequence[dict[str, Any]]


def tables(rows: Rows) -> str:
    """Latencies of each page size, then stages against their limits, then memory."""
    parts = [latency(rows, side) for side in page_sizes(rows)]
    parts += [stages(rows, side) for side in page_sizes(rows)]
    if any(row["what"] == "memory" for row in rows):
        parts.append(memory(rows))
    return "\n\n".join(parts)


def page_sizes(rows: Rows) -> list[int]:
    """The page sizes that were measured."""
    return list(dict.fromkeys(row["longest_side"] for row in rows if row["what"] == "latency"))


def latency(rows: Rows, side: int) -> str:
    """Medians by system and candidates, with how many times slower than ours at keep ratio 0.5 each system is."""
    of_size = [row for row in rows if row["what"] == "latency" and row["longest_side"] == side]
    counts = sorted({row["candidates"] for row in of_size})
    lines = [f"**Milliseconds a query, pages of {side} px, by candidates.** {_setting(of_size[0])}"]
    for start in STARTS:
        systems: dict[str, dict[int, float]] = {}
        for row in of_size:
            if row["start"] == start:
                systems.setdefault(label(row), {})[row["candidates"]] = row["total_ms"]["p50"]
        ours = systems["ziprerank, keep 0.5"]
        lines += ["", f"| {START_NAMES[start]} | {' | '.join(map(str, counts))} |", "|---" * (len(counts) + 1) + "|"]
        for name, medians in systems.items():
            cells = [f"{medians[count]:,.0f} ({medians[count] / ours[count]:.1f}x)" for count in counts]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def stages(rows: Rows, side: int) -> str:
    """Each stage of ours against what the machine could do, at the most candidates measured."""
    (rates,) = (row for row in rows if row["what"] == "machine rates")
    limits = [row for row in rows if row["what"] == "limit" and row["longest_side"] == side]
    most = max(row["candidates"] for row in limits)
    lines = [
        f"**Stages against the machine's limit, {most} pages of {side} px.** GEMM {rates['gemm_gflops']:.0f} GFLOP/s "
        f"and copies {rates['copy_gb_s']:.1f} GB/s, measured in the same run.",
        "",
        "| stage | GFLOP | MB | limit, ms | measured, ms | fraction of the limit |",
        "|---|---|---|---|---|---|",
    ]
    for row in limits:
        if row["candidates"] == most:
            name = row["stage"] if row["keep_ratio"] is None else f"{row['stage']}, keep {row['keep_ratio']:g}"
            values = " | ".join(f"{row[key]:,.2f}" for key in ("gflop", "mb", "limit_ms", "measured_ms", "fraction"))
            lines.append(f"| {name} | {values} |")
    return "\n".join(lines)


def memory(rows: Rows) -> str:
    """Peak memory of a process that answers one query."""
    peaks = [row for row in rows if row["what"] == "memory"]
    lines = [
        "**Peak memory, MB**, of a new process that loads a system and answers one query from the PDF.",
        "",
        "| system | pages | page, px | MB |",
        "|---|---|---|---|",
    ]
    for row in peaks:
        lines.append(
            f"| {label({**row, 'reasoning_tokens': 0})} | {row['candidates']} | {row['longest_side']} "
            f"| {row['peak_mb']:,.0f} |"
        )
    return "\n".join(lines)


def _setting(row: dict[str, Any]) -> str:
    return (
        f"Medians, in brackets how many times ziprerank's at keep ratio 0.5; {row['checkpoint']}, float32, "
        f"{row['document']}; {row['cores']} cores of an {row['processor']}, ONNX Runtime {row['onnxruntime']}, "
        f"PyTorch {row['torch']}, transformers {row['transformers']}, commit {row['commit']}. All systems interleaved "
        "in one run, on the same weights and pages, after a check that their logits agree."
    )
