"""Writes the committed results into the documents.

    python -m bench.report

The tables of the README, docs/*.md and the model card go between their `measured` markers.
The comparison's rows also give the pictures in docs/images, and docs/benchmarks.html with everything in one file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ziprerank.comparison.aims import PAGES, ours_label
from ziprerank.comparison.cases import STARTS
from ziprerank.comparison.labels import label, page_sizes
from ziprerank.comparison.page import page
from ziprerank.comparison.plots import caption, draw, pictures_of, quality_points
from ziprerank.comparison.tables import tables

from .ablation import table
from .evaluation import by_document
from .long_report import long_documents, strategies
from .pointwise_report import page_by_page
from .serve_report import attacked, under_load

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
IMAGES, PAGE = ROOT / "docs" / "images", ROOT / "docs" / "benchmarks.html"
COMPARISON = "compare_cpu.jsonl"  # of ziprerank bench
QUALITY = "quality_cpu.jsonl"  # of python -m bench.quality
BEGIN, END = "<!-- measured: written by bench/report.py -->\n", "<!-- /measured -->\n"


def main() -> None:
    """Writes every document, picture and page."""
    for document in DOCUMENTS:
        file = ROOT / document
        file.write_text(with_tables(document, file.read_text(encoding="utf-8")), encoding="utf-8")
    rows = read(COMPARISON)
    for old in (*IMAGES.glob("latency-*.png"), *IMAGES.glob("stages-*.png")):
        old.unlink()
    PAGE.write_text(page(tables(rows), draw(rows, IMAGES, read(QUALITY))), encoding="utf-8")


def with_tables(document: str, text: str) -> str:
    """Returns the text of a document with the tables between its markers written again."""
    written, *places = text.split(BEGIN)
    for place, parts in zip(places, DOCUMENTS[document], strict=True):
        _, after = place.split(END)
        written += BEGIN + "\n" + "\n\n".join(part() for part in parts) + "\n\n" + END + after
    return written


def comparison() -> str:
    """Returns all tables of the committed run of ``ziprerank bench``."""
    return tables(read(COMPARISON))


def pictures() -> str:
    """Returns links to the comparison's pictures."""
    return "\n\n".join(
        f"![{caption(name)}](images/{name}.png)" for name in pictures_of(read(COMPARISON), read(QUALITY))
    )


def three_systems() -> str:
    """Returns the README's table: ziprerank, the paper's pruning in transformers, and pointwise, at 20 pages."""
    rows = read(COMPARISON)
    side = page_sizes(rows)[0]
    ours = ours_label(rows)
    names = {
        ours: "**ziprerank**",
        "transformers, paper's pruning, keep 0.5": "the paper's pruning in transformers",
        "pointwise": "pointwise: one pass per page",
    }
    medians: dict[tuple[str, str], float] = {}
    for row in rows:
        if row["what"] == "latency" and (row["candidates"], row["longest_side"]) == (PAGES, side):
            medians[label(row), row["start"]] = row["total_ms"]["p50"]
    quality = read(QUALITY)
    recalls = {label(row): recall for row, recall in quality_points(rows, quality, side)}
    lines = [
        f"| {PAGES} pages of {side} px | first query, from the PDF | next query, same pages | right page first |",
        "|---|---|---|---|",
    ]
    for name, shown in names.items():
        times = [
            f"{medians[name, start] / 1e3:.2f} s"
            + ("" if name == ours else f" ({medians[name, start] / medians[ours, start]:.1f}x)")
            for start in STARTS
        ]
        recall = f"{recalls[name]:.1%}" if name in recalls else "not measured"
        lines.append(f"| {shown} | {' | '.join(times)} | {recall} |")
    first = rows[0]
    queries = next(row["n"] for row in quality if (row["document"], row["kind"]) == ("all", "all"))
    manuals = len({row["document"] for row in quality} - {"all"})
    return (
        "\n".join(lines) + f"\n\nMedians on {of(first)}.\n"
        f"All three ran the model that was in the box then, on {first['document']} in one run.\n"
        "Here ziprerank drops blank visual tokens, and pruning keeps half of a page's tokens.\n"
        f"The last column is recall@1 of {queries} queries over {manuals} manuals that no training saw, "
        f"{PAGES} pages each."
    )


def pointwise() -> str:
    """Returns the table of pages scored one by one."""
    return page_by_page(read("pointwise_cpu.jsonl"))


def whole_manuals() -> str:
    """Returns the table of the strategies on whole manuals."""
    return strategies(read("whole_cpu.jsonl"))


def very_long() -> str:
    """Returns the table of very long documents."""
    return long_documents(read("long_cpu.jsonl"))


def startup() -> str:
    """Returns the time and memory of a cold start."""
    (row,) = read("startup_cpu.jsonl")
    return (
        f"**Cold start.** `ziprerank rank` in a new process on {row['pages']} pages of {row['document']} takes "
        f"{row['wall_s']['p50']:.2f} s, {row['without_vision_s']['p50']:.2f} s of it outside the vision tower.\n"
        f"Peak memory is {row['peak_rss_mb']['p50']:.0f} MB.\n"
        f"Medians of {row['runs']} runs on {of(row)}."
    )


def prune_op() -> str:
    """Returns the table of the fused pruning operator against its body."""
    rows = read("prune_op_cpu.jsonl")
    lines = [
        f"**Pruning operator**, {rows[0]['visual_tokens']:,} visual and {rows[0]['text_tokens']} text tokens, float32.",
        "The body is the same operator in standard ONNX operators, and the GEMM is NumPy's of the same shape.",
        f"All three took turns in one run on {of(rows[0])}.",
        "",
        "| hidden size | fused, ms | body, ms | GEMM alone, ms | fused is faster than the body |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        times = " | ".join(f"{row[f'{name}_ms']['p50']:.1f}" for name in ("fused", "body", "gemm"))
        lines.append(f"| {row['hidden']:,} | {times} | {row['speedup_over_body']:.2f}x |")
    return "\n".join(lines)


def precision() -> str:
    """Returns the table of the precisions of the model in the box."""
    rows = read("precision_cpu.jsonl")
    first = rows[0]
    agreements = [(f"{one['keep_ratio']:g}", at) for at, one in enumerate(first["agreement"])]
    columns = [f"{name}, keep {ratio}" for ratio, _ in agreements for name in ("Kendall's tau", "same first page")]
    lines = [
        f"Checkpoint {first['checkpoint']}, {first['pages']} pages of {first['document']}, measured on {of(first)}.",
        f"The passes of all precisions took turns in {first['rounds']} rounds.",
        f"Agreement with fp32 is over {first['agreement'][0]['passes']} passes.",
        "",
        f"| precision | bundle, MB | peak memory, MB | pass, times fp32's | {' | '.join(columns)} |",
        "|---|---|---|---|" + "---|" * len(columns),
    ]
    for row in rows:
        agreed = [f"{row['agreement'][at][name]:.2f}" for _, at in agreements for name in ("kendall_tau", "top1")]
        lines.append(
            f"| `{row['precision']}` | {row['bundle_mb']:.1f} | {row['peak_mb']:,.0f} | {row['rerank_by_fp32']:.2f} | "
            f"{' | '.join(agreed)} |"
        )
    return "\n".join(lines)


def ablation() -> str:
    """Returns the table of the ablation of the small model's training."""
    rows = read("ablation_cpu.jsonl")
    first = rows[0]
    return (
        f"{first['n']} queries on real documents kept out of training, 8 to 20 pages each, keep ratio "
        f"{first['keep_ratio']:g}.\n"
        f"{first['pages']} real pages were encoded, and {first['synthetic_pages']} synthetic ones for stage 1.\n"
        f"Measured on {of(first)}.\n"
        "Differences are paired, with their 95 % interval in brackets.\n"
        "Seconds are given where a variant ran without interruption, on a machine with other work."
        f"\n\n{table(rows)}"
    )


def batch() -> str:
    """Returns the rows a second of a batch by number of workers."""
    (row,) = read("batch_cpu.jsonl")
    speeds = " and ".join(
        f"{rate:.2f} with {workers} worker{'s' if workers != '1' else ''}"
        for workers, rate in row["rows_a_second"].items()
    )
    pages = f"{row['pages_a_row']} page{'s' if row['pages_a_row'] > 1 else ''}"
    return (
        f"**Rows a second:** {speeds}.\n"
        f"Two workers are {row['two_workers_by_one']:.2f} times as fast as one.\n"
        f"The job has {row['rows']} rows: 40 documents of {pages} of {row['document']}, 5 queries each.\n"
        f"Times include the start of the workers; medians of {row['rounds']} rounds on {of(row)}."
    )


def page_workers() -> str:
    """Returns what page workers cost, against reading files in the process."""
    (row,) = read("page_workers_cpu.jsonl")
    outside, inside = (row["query_s"][where] for where in ("workers", "in_process"))
    opened = row["open_1000_s"]["workers"]["p50"]
    return (
        f"**What they cost.** The first query over 20 pages of {row['document']} takes {outside['p50']:.1f} s, "
        f'{row["query_ratio"]:.2f} times as long as with `page_workers="off"`, '
        f"and {row['process_ratio']:.2f} times with the start of the process.\n"
        f"From p20 to p80 that is {outside['p20']:.1f} to {outside['p80']:.1f} s, against {inside['p20']:.1f} to "
        f"{inside['p80']:.1f} s.\n"
        f"Opening 1,000 pages takes {opened:.2f} s, {row['open_1000_ratio']:.2f} times as long.\n"
        f"A page worker holds {row['worker_pss_mb']['p50']:.0f} MB of memory after that.\n"
        f"Medians of {row['rounds']} pairs that took turns on {of(row)}; "
        f"load average {row['load_before']} to {row['load_after']}."
    )


def of(row: dict[str, Any]) -> str:
    """Says on which machine, with which ONNX Runtime and at which commit a row was measured."""
    return f"{row['cores']} cores of an {row['processor']}, ONNX Runtime {row['onnxruntime']}, commit {row['commit']}"


def read(name: str) -> list[dict[str, Any]]:
    """Returns the rows of a results file."""
    return [json.loads(line) for line in (RESULTS / name).read_text(encoding="utf-8").splitlines()]


DOCUMENTS: dict[str, list[list[Callable[[], str]]]] = {
    "README.md": [[three_systems]],
    "docs/benchmarks.md": [[pictures, comparison, pointwise, startup, prune_op]],
    "docs/evaluation.md": [[by_document]],
    "docs/precision.md": [[precision]],
    "docs/python.md": [[whole_manuals], [very_long], [page_workers]],
    "docs/scale.md": [[batch]],
    "docs/operate.md": [[under_load, attacked]],
    "train/MODEL_CARD.md": [[ablation]],
}
"""What stands between the markers of each document, place by place."""


if __name__ == "__main__":
    main()
