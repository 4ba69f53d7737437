"""Names of rows in tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .cases import OURS, OURS_POINTWISE

START_NAMES = {"file": "first query, from the PDF", "again": "next query over the same pages"}


def label(row: dict[str, Any]) -> str:
    """Names the system of a latency or memory row.

    For ziprerank the name has the precision unless it is float32, and says whether blank tokens are dropped.
    """
    system, keep = row["system"], f"keep {row['keep_ratio']:g}"
    if system in (OURS, OURS_POINTWISE):
        name = system.replace("_", " ") + ("" if row["precision"] == "fp32" else f" {row['precision']}")
        parts = [name, *(["blank dropped"] if row["blank"] == "drop" else [])]
        return ", ".join(parts if system == OURS_POINTWISE else [*parts, keep])
    if system == "autoregressive":
        extra = f", {row['reasoning_tokens']} reasoning tokens" if row["reasoning_tokens"] else ""
        return f"autoregressive listwise{extra}"
    if system == "transformers":
        return "transformers, no pruning"
    if system == "transformers_pruned":
        return f"transformers, paper's pruning, {keep}"
    return str(system)


def page_sizes(rows: Sequence[dict[str, Any]]) -> list[int]:
    """Returns the measured page sizes (longest side, px), in the order of the rows."""
    return list(dict.fromkeys(row["longest_side"] for row in rows if row["what"] == "latency"))
