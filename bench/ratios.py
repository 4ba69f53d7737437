"""How many times faster, from the rows of one run: medians of ours against medians of the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .cases import AGAIN, FILE

KEEP_RATIO = 0.5


@dataclass(frozen=True, slots=True)
class Ratio:
    """At keep ratio 0.5: the other system's median divided by ours. ``decoder`` leaves pages and vision tower out."""

    candidates: int
    longest_side: int
    against: str
    file: float
    again: float
    decoder: float


def ratios(rows: Sequence[dict[str, Any]]) -> Iterator[Ratio]:
    """For each number of candidates and page size, against every other system and our own keep ratio 1."""
    latencies = [row for row in rows if row["what"] == "latency"]
    for candidates, longest_side in dict.fromkeys((row["candidates"], row["longest_side"]) for row in latencies):
        systems: dict[str, dict[str, dict[str, Any]]] = {}
        for row in latencies:
            if (row["candidates"], row["longest_side"]) == (candidates, longest_side):
                systems.setdefault(label(row), {})[row["start"]] = row
        ours = systems[f"ziprerank, keep {KEEP_RATIO:g}"]
        for against, theirs in systems.items():
            if theirs is not ours:
                yield Ratio(
                    candidates,
                    longest_side,
                    against,
                    *(theirs[start]["total_ms"]["p50"] / ours[start]["total_ms"]["p50"] for start in (FILE, AGAIN)),
                    _decoder_ms(theirs[AGAIN]) / _decoder_ms(ours[AGAIN]),
                )


def label(row: dict[str, Any]) -> str:
    """A latency row's system in words."""
    if row["system"] == "autoregressive":
        extra = f", {row['reasoning_tokens']} reasoning tokens" if row["reasoning_tokens"] else ""
        return f"autoregressive listwise{extra}"
    if row["system"] == "transformers":
        return "transformers, no pruning"
    if row["system"] == "transformers_pruned":
        return f"transformers, paper's pruning, keep {row['keep_ratio']:g}"
    return f"ziprerank, keep {row['keep_ratio']:g}" if row["system"] == "ziprerank" else row["system"]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, for reading at the end of a run."""
    lines = [
        f"How many times slower than ziprerank at keep ratio {KEEP_RATIO:g}:",
        "",
        "| candidates | page, px | system | from the file | again | decoder alone |",
        "|---|---|---|---|---|---|",
    ]
    for row in ratios(rows):
        values = " | ".join(f"{value:.2f}x" for value in (row.file, row.again, row.decoder))
        lines.append(f"| {row.candidates} | {row.longest_side} | {row.against} | {values} |")
    return "\n".join(lines)


def _decoder_ms(row: dict[str, Any]) -> float:
    return sum(row["stages_ms"][stage]["p50"] for stage in ("decoder", "generate") if stage in row["stages_ms"])
