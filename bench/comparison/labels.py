"""What rows are called in tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

START_NAMES = {"file": "first query, from the PDF", "again": "next query over the same pages"}


def label(row: dict[str, Any]) -> str:
    """A latency or memory row's system in words; of ours with its precision, where it is not float32, and whether it
    drops blank tokens."""
    system, keep = row["system"], f"keep {row['keep_ratio']:g}"
    if system == "ziprerank":
        name = "ziprerank" if row["precision"] == "fp32" else f"ziprerank {row['precision']}"
        return f"{name}, blank dropped, {keep}" if row["blank"] == "drop" else f"{name}, {keep}"
    if system == "autoregressive":
        extra = f", {row['reasoning_tokens']} reasoning tokens" if row["reasoning_tokens"] else ""
        return f"autoregressive listwise{extra}"
    if system == "transformers":
        return "transformers, no pruning"
    if system == "transformers_pruned":
        return f"transformers, paper's pruning, {keep}"
    return str(system)


def page_sizes(rows: Sequence[dict[str, Any]]) -> list[int]:
    """The page sizes that were measured."""
    return list(dict.fromkeys(row["longest_side"] for row in rows if row["what"] == "latency"))
