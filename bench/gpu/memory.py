"""Counts, without a GPU, the memory that rankings take of one.

    python -m bench.gpu.memory                # the 8B model's shapes: the rows and the table of docs/gpu.md
    python -m bench.gpu.memory OUT.jsonl --precision int4 --layers 8

Bundles rank pages on the hollow GPU of the tests, whose log has every allocation of ONNX Runtime and of the engine.
Each number of pages at each keep ratio has a process of its own: a first query, whose pages are new, and the same
again. Two more processes go through all of them, from the smallest to the largest and the other way, because ONNX
Runtime's arena keeps what it has allocated, and a larger tensor fits into no piece of it.
What CUDA itself takes is not counted: its context, the kernels' code, workspaces of cuBLAS.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .bundles import hollow_bundle, shapes
from .count import LARGE_COPY, hollow_gpu
from .document import PAGE, RESULTS, Row, with_section, write_rows

if TYPE_CHECKING:
    from hollow import HollowGpu, Step
    from hollow.record import Part
    from ziprerank.bundle import Bundle

ROWS = RESULTS / "memory_gpu.jsonl"
BEGIN, END = "<!-- memory: written by python -m bench.gpu.memory -->\n", "<!-- /memory -->\n"
PRECISIONS = ("bf16", "int8", "int4")
PAGES = (1, 10, 20)
KEEP_RATIOS = (0.5, 1.0)
CARDS = (8, 12, 16, 24, 32, 40, 48, 80)  # GB of memory
RESERVE = 1.0  # GB of it that CUDA is assumed to take
GB = 1e9


def measure(gpu: HollowGpu, bundle: Bundle, page: tuple[int, int], pages: Sequence[int], folder: Path) -> Iterator[Row]:
    """Yields a row for each number of pages at each keep ratio, and one for each order of them all.

    Args:
        gpu: the hollow GPU.
        bundle: a CUDA bundle.
        page: height and width of every page in px.
        pages: numbers of pages, each at most a window.
        folder: for the logs; it must be empty.
    """
    from hollow import Step

    common = {**shapes(bundle, page), "onnxruntime_gpu": gpu.version}
    cases = [(number, keep) for number in sorted(pages) for keep in KEEP_RATIOS]
    for at, (number, keep) in enumerate(cases):
        loaded, (first, again) = _run(gpu, bundle, folder / f"log {at}", [Step([page] * number, keep)] * 2)
        yield {
            "what": "memory",
            "pages": number,
            "keep_ratio": keep,
            "loaded": loaded.live,
            "first": first.peak,
            "next": again.peak,
            "left": again.live,
            "pinned": again.pinned,
            **common,
        }
    for order, steps in (("rising", cases), ("falling", cases[::-1])):
        _, parts = _run(gpu, bundle, folder / f"log {order}", [Step([page] * number, keep) for number, keep in steps])
        peak = max(part.peak for part in parts)
        yield {"what": "memory in turn", "order": order, "peak": peak, "left": parts[-1].live, **common}


def _run(gpu: HollowGpu, bundle: Bundle, log: Path, steps: Sequence[Step]) -> tuple[Part, list[Part]]:
    run = gpu.rank(bundle.path, log, steps, skip=LARGE_COPY, options={"check": "size"})
    output = run.output
    failures = [output] if "error" in output else [step for step in output["steps"] if "error" in step]
    if failures:
        raise RuntimeError(f"{failures[0]['error'][1]}")
    parts = run.record.parts
    return parts["loaded"], [parts[f"step {number}"] for number in range(len(steps))]


def table(rows: Sequence[Row]) -> str:
    """The rows as tables in Markdown: memory by precision, and what fits on which card."""
    precisions = list(dict.fromkeys(row["precision"] for row in rows))
    cases = list(dict.fromkeys((row["pages"], row["keep_ratio"]) for row in rows if row["what"] == "memory"))
    heads = [f"{_pages(number)}, keep {keep:g}" for number, keep in cases]
    lines = [
        f"| device memory, GB | loaded | {' | '.join(heads)} | all, rising | all, falling |",
        "|" + "---|" * (len(cases) + 4),
    ]
    for precision in precisions:
        own = [row for row in rows if row["precision"] == precision]
        turns = {row["order"]: row["peak"] for row in own if row["what"] == "memory in turn"}
        values: list[int | None] = [next(row["loaded"] for row in own if row["what"] == "memory")]
        values += [most(own, *case) for case in cases]
        values += [turns.get("rising"), turns.get("falling")]
        cells = ["-" if value is None else f"{value / GB:.2f}" for value in values]
        lines.append(f"| {precision} | {' | '.join(cells)} |")
    lines += ["", f"| card | {' | '.join(precisions)} |", "|" + "---|" * (len(precisions) + 1)]
    for card in CARDS:
        cells = [holds([row for row in rows if row["precision"] == precision], card) for precision in precisions]
        lines.append(f"| {card} GB | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def most(rows: Sequence[Row], pages: int, keep_ratio: float) -> int | None:
    """The most bytes that a first query of ``pages`` at ``keep_ratio`` or the same again had; None if not counted."""
    found = (row for row in rows if (row.get("pages"), row.get("keep_ratio")) == (pages, keep_ratio))
    return next((int(max(row["first"], row["next"])) for row in found), None)


def holds(rows: Sequence[Row], card: int) -> str:
    """The largest rankings for which a card of so many GB has room, all but `RESERVE`, in words.

    Args:
        rows: of one precision.
        card: GB.
    """
    room = (card - RESERVE) * GB
    cases = [row for row in rows if row["what"] == "memory" and max(row["first"], row["next"]) <= room]
    if not cases:
        return "no"
    turns = [row["peak"] for row in rows if row["what"] == "memory in turn"]
    best = max(cases, key=lambda row: (row["pages"], row["keep_ratio"]))
    if best["pages"] == max(row["pages"] for row in rows if row["what"] == "memory") and best["keep_ratio"] == 1:
        return "all, in any order" if max(turns) <= room else "all, the largest first"
    return f"{_pages(best['pages'])}, keep {best['keep_ratio']:g}"


def _pages(number: int) -> str:
    return f"{number} page{'s' * (number != 1)}"


def main() -> None:
    """Measures, writes the rows, and prints the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu.memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, nargs="?", default=ROWS, help="rows, one JSON object a line")
    parser.add_argument("--precision", action="append", help=f"may be repeated; default: {', '.join(PRECISIONS)}")
    parser.add_argument("--layers", type=int, default=36, help="of the decoder, 2..36; default 36, as the 8B model has")
    parser.add_argument("--tiny", action="store_true", help="small shapes: every path in a minute")
    parser.add_argument("--scratch", type=Path, help="where sparse bundles are written; default: a temporary folder")
    options = parser.parse_args()
    if not 2 <= options.layers <= 36:
        parser.error(f"--layers {options.layers}: must be 2..36")
    page, pages = ((256, 256), (1, 2)) if options.tiny else ((1024, 800), PAGES)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="ziprerank-memory-", dir=options.scratch) as scratch:
        folder = Path(scratch)
        gpu = hollow_gpu(folder / "stubs")
        for precision in options.precision or PRECISIONS:
            bundle = hollow_bundle(folder, precision, options.layers, tiny=options.tiny)
            (folder / f"logs {precision}").mkdir()
            for row in measure(gpu, bundle, page, pages, folder / f"logs {precision}"):
                rows.append(row)
                print(json.dumps({name: value for name, value in row.items() if name != "model"}), flush=True)
    write_rows(options.out, rows)
    if options.out.resolve() == ROWS:
        PAGE.write_text(with_section(PAGE.read_text(encoding="utf-8"), BEGIN, END, table(rows)), encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
