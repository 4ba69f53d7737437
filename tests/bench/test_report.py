"""The documents show the committed results."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.report import DOCUMENTS, read, three_systems, with_tables

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_show_the_committed_results(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert with_tables(document, text) == text


def test_the_readme_compares_three_systems_at_20_pages() -> None:
    rows = [line for line in three_systems().splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 3
    medians = {
        (row["system"], row["start"]): row["total_ms"]["p50"] / 1e3
        for row in reversed(read("compare_cpu.jsonl"))  # of ziprerank's rows the first, as the bundle recommends
        if row["what"] == "latency"
        and row["candidates"] == 20
        and row["keep_ratio"] == (1.0 if row["system"] == "pointwise" else 0.5)
    }
    for row, system in zip(rows, ("ziprerank", "transformers_pruned", "pointwise"), strict=True):
        for cell, start in zip(row.split(" | ")[1:3], ("file", "again"), strict=True):
            assert cell.startswith(f"{medians[system, start]:.2f} s")
            times = medians[system, start] / medians["ziprerank", start]
            assert cell.endswith(" s" if system == "ziprerank" else f"({times:.1f}x)")
