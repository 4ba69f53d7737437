"""The table of ``python -m bench.pointwise``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ziprerank.comparison.aims import PAGE_BY_PAGE
from ziprerank.comparison.cases import AGAIN, FILE
from ziprerank.comparison.labels import label

Row = dict[str, Any]


def page_by_page(rows: Sequence[Row]) -> str:
    """Returns medians and ratios by system, the aims, and peak memory.

    Args:
        rows: of one run.
    """
    latencies = {(label(row), row["start"]): row for row in rows if row["what"] == "latency"}
    names = list(dict.fromkeys(name for name, _ in latencies))
    memory = {label(row): row["peak_mb"] for row in rows if row["what"] == "memory"}
    first = rows[0]
    lines = [
        "**Page by page.** The pages of a list, each scored by itself with the prompt of Qwen3-VL-Reranker.",
        f"Pointwise is transformers in batches of {latencies['pointwise', FILE]['batch']} pages.",
        f"Checkpoint {first['checkpoint']}, float32, {first['candidates']} pages of {first['longest_side']} px of "
        f"{first['document']}.",
        f"All systems took turns in {latencies['pointwise', FILE]['runs']} rounds on {first['cores']} cores of an "
        f"{first['processor']} (load average {first['load_before']:.1f} before and {rows[-1]['load_after']:.1f} "
        f"after), ONNX Runtime {first['onnxruntime']}, PyTorch {first['torch']}, transformers {first['transformers']}, "
        f"commit {first['commit']}.",
        "Multiples are medians of the ratios within a round, p20 to p80 in brackets, interpolated between so few "
        "rounds.",
        "",
        "| system | first query, s | times faster than pointwise | next query, s | times faster than pointwise "
        "| peak memory, MB |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        cells = []
        for start in (FILE, AGAIN):
            row = latencies[name, start]
            times = row["times_faster"]
            ratio = "" if name == "pointwise" else f"{times['p50']:.1f} ({times['p20']:.1f} to {times['p80']:.1f})"
            cells += [f"{row['total_ms']['p50'] / 1e3:.2f}", ratio]
        peak = f"{memory[name]:,.0f}" if name in memory else ""
        lines.append(f"| {name} | {' | '.join(cells)} | {peak} |")
    agreed = {row["blank"]: row for row in rows if row["what"] == "agreement"}
    kept, dropped = (max(agreed[blank]["max_log_odds_error"].values()) for blank in ("keep", "drop"))
    said = " and ".join(
        f"{PAGE_BY_PAGE[start]:g} times on the {word} query" for start, word in ((FILE, "first"), (AGAIN, "next"))
    )
    lines += ["", f"The aim is {said}: {_reached(latencies)}."]
    lines += [
        f"With all tokens, log-odds differ by at most {kept:.1e} from transformers'.",
        f"With blank tokens dropped they differ by up to {dropped:.2f}, and the order is another one (Kendall's tau "
        f"{agreed['drop']['kendall_tau']:.2f}): these weights were not trained to say yes or no, and what dropping "
        "does to a checkpoint that was is unmeasured.",
    ]
    return "\n".join(lines)


def _reached(latencies: dict[tuple[str, str], Row]) -> str:
    """Says what ziprerank page by page has reached, with all tokens and with blank ones dropped."""
    parts = []
    for name in ("ziprerank pointwise", "ziprerank pointwise, blank dropped"):
        reached = {start: latencies[name, start]["times_faster"]["p50"] for start in PAGE_BY_PAGE}
        met = ["met" if reached[start] >= bound else "not met" for start, bound in PAGE_BY_PAGE.items()]
        which = "with blank tokens dropped" if name.endswith("dropped") else "with all tokens"
        parts.append(f"{which} {reached[FILE]:.1f} ({met[0]}) and {reached[AGAIN]:.1f} ({met[1]})")
    return ", ".join(parts)
