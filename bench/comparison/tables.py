"""Writes the rows of ``ziprerank bench`` as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from . import aims
from .cases import FILE, STARTS
from .labels import START_NAMES, label, page_sizes

STAGES = ("pages", "tokenize", "vision", "prune", "decoder", "generate")
FARTHEST = 2

Row = dict[str, Any]
Rows = Sequence[Row]


def tables(rows: Rows) -> str:
    """Returns all tables: aims, latencies, stages and tokens, stages against their limits, memory."""
    sizes = page_sizes(rows)
    parts = [aims.table(rows), *(latency(rows, side) for side in sizes), *(stages(rows, side) for side in sizes)]
    parts += [limits(rows, side) for side in sizes]
    if any(row["what"] == "memory" for row in rows):
        parts.append(memory(rows))
    return "\n\n".join(parts)


def latency(rows: Rows, side: int) -> str:
    """Returns the medians by system and candidates, and each as a multiple of ziprerank's at keep ratio 0.5."""
    of_size = [row for row in rows if row["what"] == "latency" and row["longest_side"] == side]
    counts = sorted({row["candidates"] for row in of_size})
    lines = [f"**Milliseconds a query, pages of {side} px, by candidates.**", *_setting(of_size[0])]
    for start in STARTS:
        systems: dict[str, dict[int, float]] = {}
        for row in of_size:
            if row["start"] == start:
                systems.setdefault(label(row), {})[row["candidates"]] = row["total_ms"]["p50"]
        ours = systems[aims.ours_label(rows)]
        lines += ["", f"| {START_NAMES[start]} | {' | '.join(map(str, counts))} |", "|---" * (len(counts) + 1) + "|"]
        for name, medians in systems.items():
            cells = [f"{medians[count]:,.0f} ({medians[count] / ours[count]:.1f}x)" for count in counts]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def stages(rows: Rows, side: int) -> str:
    """Returns stages, spread and tokens of a first query at the most candidates of one pass."""
    latencies = [row for row in rows if row["what"] == "latency" and row["longest_side"] == side]
    most = max((row["candidates"] for row in latencies if row["windows"] == 1), default=0)
    chosen = [row for row in latencies if (row["candidates"], row["start"]) == (most, FILE)]
    if not chosen:
        return f"**Stages of a query, pages of {side} px.**\nNo case of one pass was measured."
    lines = [
        f"**Stages of a first query, {most} pages of {side} px.**",
        "Times are medians in milliseconds.",
        "ziprerank's pass is split into prune and decoder by the operator's share in ONNX Runtime's profile.",
        "The pointwise systems run one pass per page.",
        _energy(chosen),
        "",
        "| system | pages | tokenise | vision | prune | decoder | generate | total, p20 to p80 | runs | text tokens "
        "| visual | kept | generated | J |",
        "|---" * 14 + "|",
    ]
    for row in chosen:
        times = [f"{row['stages_ms'][stage]['p50']:,.1f}" if stage in row["stages_ms"] else "" for stage in STAGES]
        tokens = [f"{row[f'{kind}_tokens']:,}" for kind in ("text", "visual", "kept", "generated")]
        total = row["total_ms"]
        spread = f"{total['p50']:,.0f}, {total['p20']:,.0f} to {total['p80']:,.0f}"
        joules = "" if row["energy_j"] is None else f"{row['energy_j']['p50']:,.1f}"
        lines.append(f"| {' | '.join([label(row), *times, spread, str(row['runs']), *tokens, joules])} |")
    return "\n".join([*lines, *_batches(chosen)])


def limits(rows: Rows, side: int) -> str:
    """Returns each of ziprerank's stages against the machine's limit, at the most candidates measured."""
    (rates,) = (row for row in rows if row["what"] == "machine rates")
    of_size = [row for row in rows if row["what"] == "limit" and row["longest_side"] == side]
    most = max(row["candidates"] for row in of_size)
    chosen = [row for row in of_size if row["candidates"] == most]
    several = len({(row["precision"], row["blank"]) for row in chosen}) > 1
    lines = [
        f"**Stages against the machine's limit, {most} pages of {side} px.**",
        f"Rates of the same run: GEMM {rates['gemm_gflops']:.0f} GFLOP/s, copies {rates['copy_gb_s']:.1f} GB/s.",
        "",
        "| stage | GFLOP | MB | limit, ms | measured, ms | fraction of the limit |",
        "|---|---|---|---|---|---|",
    ]
    for row in chosen:
        name = _stage(row) + (f", {row['precision']}, blank tokens: {row['blank']}" if several else "")
        values = " | ".join(f"{row[key]:,.2f}" for key in ("gflop", "mb", "limit_ms", "measured_ms", "fraction"))
        lines.append(f"| {name} | {values} |")
    names = " and ".join(f"{_stage(row)} ({row['fraction']:.2f})" for row in farthest(chosen))
    return "\n".join([*lines, "", f"Farthest from the limit: {names}.", "The reasons are in bench/SPEED.md."])


def farthest(chosen: Rows) -> list[Row]:
    """Returns the two stages with the smallest fraction of their limit, of the first bundle at keep ratio 0.5."""
    first = (chosen[0]["precision"], chosen[0]["blank"])
    usual = [row for row in chosen if row["keep_ratio"] in (None, 0.5) and (row["precision"], row["blank"]) == first]
    return sorted(usual, key=lambda row: row["fraction"])[:FARTHEST]


def memory(rows: Rows) -> str:
    """Returns the peak memory of each system."""
    peaks = [row for row in rows if row["what"] == "memory"]
    lines = [
        "**Peak memory, MB.**",
        "A new process loads the system and answers one query from the PDF.",
        "",
        "| system | pages | page, px | MB |",
        "|---|---|---|---|",
    ]
    with_gpu = any(row["gpu_mb"] is not None for row in peaks)
    if with_gpu:
        lines[-2:] = ["| system | pages | page, px | MB | GPU, MB |", "|---|---|---|---|---|"]
    for row in peaks:
        gpu = f" {row['gpu_mb']:,.0f} |" if with_gpu else ""
        lines.append(
            f"| {label({**row, 'reasoning_tokens': 0})} | {row['candidates']} | {row['longest_side']} "
            f"| {row['peak_mb']:,.0f} |{gpu}"
        )
    return "\n".join(lines)


def _stage(row: Row) -> str:
    return str(row["stage"]) if row["keep_ratio"] is None else f"{row['stage']}, keep {row['keep_ratio']:g}"


def _energy(chosen: Rows) -> str:
    if any(row["energy_j"] is not None for row in chosen):
        return "J is the energy that the GPU used, in joules, by its own counter."
    return "J is empty because no energy counter could be read."


def _batches(chosen: Rows) -> Iterator[str]:
    """Yields which batch sizes the pointwise system was tried with."""
    for row in chosen:
        if row["system"] == "pointwise" and row["batches_tried_ms"]:
            tried = ", ".join(f"{size}: {time:,.0f}" for size, time in row["batches_tried_ms"].items())
            yield ""
            yield f"Pointwise passes hold {row['batch']} pages, the fastest batch tried."
            yield f"Milliseconds of all passes by batch: {tried}."


def _setting(row: Row) -> Iterator[str]:
    """Yields what was measured, where, and how to read the cells."""
    yield "Cells are medians, and in brackets the multiple of ziprerank's at keep ratio 0.5."
    yield f"Checkpoint {row['checkpoint']}, {_dtype(row)}, {row['document']}."
    yield (
        f"Measured on {_machine(row)}, ONNX Runtime {row['onnxruntime']}, PyTorch {row['torch']}, "
        f"transformers {row['transformers']}, commit {row['commit']}."
    )
    yield "All systems took turns in one run on the same weights and pages, after a check that their logits agree."
    yield (
        "Dropping blank tokens changes the logits a little; bench.quality measures what that does to rankings "
        "(--blank keep)."
    )


def _dtype(row: Row) -> str:
    precision = str(row["precision"])
    return {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}.get(precision, precision)


def _machine(row: Row) -> str:
    host = f"{row['cores']} cores of an {row['processor']}"
    return host if row["device"] is None else f"{row['device']}, {host}"
