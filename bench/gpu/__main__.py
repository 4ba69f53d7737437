"""Measures the pruning kernels and whole rankings on a GPU, with random weights of the 8B model's shapes.

    python -m bench.gpu OUT.jsonl                          # 17 GB of weights in a temporary folder
    python -m bench.gpu OUT.jsonl --layers 8 --provider cuda --provider tensorrt
    python -m bench.gpu OUT.jsonl --dry-run                # every path without a GPU, on a tiny checkpoint
    python -m bench.gpu --count                            # no GPU: counts launches, operations and bytes (count.py)

Rows are written as they are measured: the roofline of this run (roofline.py), the kernels by themselves (kernels.py),
ziprerank and transformers in turns (compare.py, systems.py), and the aims (aims.py).
The time limit applies to what is measured, after set-up.
The most important sections run first: the kernels in the bundle's precision; rankings of 20, 5, 10 and 1 pages; the
kernels in other precisions.
A section that does not fit or does not run has a row with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .bundles import export, hollow_bundle, shapes
from .document import PAGE, ROOT, Row, write_rows
from .prediction import (
    ROWS,
    Rates,
    beside,
    beside_line,
    fitting,
    predicted_latencies,
    read_counts,
    tables,
    with_tables,
)

if TYPE_CHECKING:
    from ziprerank.bundle import Bundle

    from .budget import Budget
    from .device import Device
    from .roofline import Roofline


COUNTED = ("bf16", "int8", "int4")
"""Precisions that --count counts; bf16 is measured."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes to measure; the defaults are Letter pages at 1024 px and the 8B model's hidden size.

    Attributes:
        pages: numbers of pages, the most important first.
        page: height and width of a page in px.
        tokens: visual tokens of a page.
        hidden: hidden size of the kernels' inputs.
    """

    pages: tuple[int, ...] = (20, 5, 10, 1)
    page: tuple[int, int] = (1024, 800)
    tokens: int = 800
    hidden: int = 4096

    @classmethod
    def tiny(cls) -> Sizes:
        """Returns sizes that run every path quickly; their times mean nothing."""
        return cls(pages=(2, 1), page=(256, 256), tokens=64, hidden=64)


def main() -> None:
    options = parse()
    if options.count:
        run_count(options)
        return
    if options.dry_run:
        os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is first imported
    import torch
    from transformers.utils import logging

    from .aims import aim_heading, aim_line, aim_row, aims
    from .device import Device

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if not options.dry_run and not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no CUDA device: --dry-run goes through everything without one")
    device = Device("cpu" if options.dry_run else options.device)
    precision = "fp32" if options.dry_run else "bf16"
    common = {**device.describe(), "tiny": options.tiny}
    rows: list[Row] = []
    with options.out.open("w", encoding="utf-8") as out:

        def write(row: Row) -> None:
            rows.append(row)
            out.write(json.dumps({**row, **common}) + "\n")
            out.flush()

        for row in measure(options, device, precision):
            write(row)
            if row["what"] == "not run":
                print(f"not run: {row['section']}: {row['reason']}", flush=True)
        counts = fitting_counts(rows)
        for provider in options.provider:
            predicted = predicted_latencies(counts, provider) if provider.startswith("cuda") else []
            for row in beside(rows, predicted):
                write(row)
                print(beside_line(row))
            told = {aim.what: aim.reached for aim in aims(predicted, provider, precision)}
            print(f"\n{provider}, predicted from counts (docs/gpu.md) and measured:\n  {aim_heading()}")
            for aim in aims(rows, provider, precision):
                write({**aim_row(aim), "provider": provider, "predicted": told.get(aim.what)})
                print(f"  {aim_line(aim, told.get(aim.what))}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, nargs="?", help="rows, one JSON object a line")
    parser.add_argument("--device", default="cuda", help="cuda or cuda:N, for the kernels and transformers")
    parser.add_argument("--provider", action="append", help="of the engine, may be repeated; default: cuda")
    parser.add_argument("--layers", type=int, default=36, help="of the decoder, 2..36; default 36, as the 8B model has")
    parser.add_argument("--seconds", type=float, default=280.0, help="time limit without set-up; default 280")
    parser.add_argument("--scratch", type=Path, help="where the checkpoint is written; default: a temporary folder")
    parser.add_argument("--checkpoint", type=Path, help="one of these shapes, in place of a new one")
    parser.add_argument("--bundle", type=Path, help="its bundle, such as one with plans for TensorRT")
    parser.add_argument("--tiny", action="store_true", help="small shapes: every path in a minute, times mean nothing")
    parser.add_argument("--dry-run", action="store_true", help="--tiny on the CPU, with Triton's interpreter")
    counting = parser.add_argument_group(
        "counting, without a GPU",
        f"Rows go to OUT, by default {ROWS.relative_to(ROOT)}, whose table is in docs/gpu.md.",
    )
    counting.add_argument("--count", action="store_true", help="count what rankings ask of a GPU and predict times")
    counting.add_argument(
        "--precision", action="append", choices=COUNTED, help=f"may be repeated; default: {', '.join(COUNTED)}"
    )
    for name, unit in (("tflops", "TFLOP/s of products"), ("tb_s", "TB/s of memory"), ("launch_us", "us a launch")):
        default = getattr(Rates(), name)
        option = f"--{name.replace('_', '-')}"
        counting.add_argument(option, type=float, default=default, help=f"assumed {unit}; default {default:g}")
    options = parser.parse_args()
    if options.out is None and not options.count:
        parser.error("give the file for the rows; only --count has one")
    if options.count and (options.dry_run or options.checkpoint is not None):
        parser.error("--count goes with --bundle, --layers and --tiny, not with --dry-run or --checkpoint")
    if options.precision is not None and (options.bundle is not None or not options.count):
        parser.error("--precision goes with --count, and not with --bundle, which has its own")
    if not min(options.tflops, options.tb_s, options.launch_us) > 0:
        parser.error("--tflops, --tb-s and --launch-us must be more than 0")
    options.tiny |= options.dry_run
    if not 2 <= options.layers <= 36:
        parser.error(f"--layers {options.layers}: must be 2..36")
    if options.bundle is not None and options.checkpoint is None and not options.count:
        parser.error("--bundle needs the --checkpoint that it was exported from: transformers runs that")
    options.provider = options.provider or ["cpu" if options.dry_run else "cuda"]
    return options


def measure(options: argparse.Namespace, device: Device, precision: str) -> Iterator[Row]:
    """Yields all rows except the aims."""
    from .budget import Budget, not_run
    from .roofline import Roofline

    sizes = Sizes.tiny() if options.tiny else Sizes()
    with tempfile.TemporaryDirectory(prefix="ziprerank-gpu-", dir=options.scratch) as scratch:
        started = time.perf_counter()
        try:
            from .compare import Comparison

            checkpoint, bundle = prepare(options, device, precision, Path(scratch))
        except ImportError as error:
            compare = None
            yield not_run("rankings", error)
        else:
            compare = partial(Comparison, device, checkpoint, bundle)
            yield {"what": "set-up", "shapes": shapes(bundle, sizes.page), "seconds": _seconds(started)}
        started = time.perf_counter()
        budget = Budget(options.seconds)
        roofline = Roofline.measure(device, precision, quick=options.tiny)
        yield from kernels(device, roofline, budget, sizes)
        if compare is not None:
            yield from compare(roofline, sizes.page, sizes.pages, budget).rows(options.provider)
        for dtype in ("bf16", "fp16", "fp32"):
            if dtype != precision:
                other = Roofline.measure(device, dtype, quick=options.tiny)
                yield from kernels(device, other, budget, sizes)
        yield {"what": "measured", "seconds": _seconds(started), "limit": options.seconds}


def fitting_counts(rows: list[Row]) -> list[Row]:
    """Returns the committed counts of what this run measured; none where it is other work, or nothing was ranked."""
    measured = next((row["shapes"] for row in rows if row["what"] == "set-up"), None)
    return [] if measured is None else fitting(read_counts(), measured)


def prepare(options: argparse.Namespace, device: Device, precision: str, scratch: Path) -> tuple[Path, Bundle]:
    """Returns the checkpoint and its bundle, written to ``scratch`` unless the options name them."""
    from ziprerank.bundle import Bundle

    from .checkpoint import shape_8b, shape_tiny, write_checkpoint

    checkpoint = options.checkpoint
    if checkpoint is None:
        shape = shape_tiny() if options.tiny else shape_8b(options.layers)
        checkpoint = write_checkpoint(scratch / "checkpoint", shape, device.torch)
    folder = options.bundle or export(checkpoint, scratch / "bundle", precision, device.capability)
    return checkpoint, Bundle.load(folder, check="size")


def run_count(options: argparse.Namespace) -> None:
    """Counts what rankings ask of a GPU, writes the rows, and prints the tables."""
    from ziprerank.bundle import Bundle

    from .count import count, hollow_gpu

    sizes = Sizes.tiny() if options.tiny else Sizes()
    rates = Rates(options.tflops, options.tb_s, options.launch_us)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="ziprerank-count-", dir=options.scratch) as scratch:
        folder = Path(scratch)
        gpu = hollow_gpu(folder / "stubs")
        for precision in options.precision or ([None] if options.bundle else COUNTED):
            if precision is None:
                bundle = Bundle.load(options.bundle, check="size")
            else:
                bundle = hollow_bundle(folder, precision, options.layers, tiny=options.tiny)
            run = folder / f"run {precision}"
            run.mkdir()
            rows += count(gpu, bundle, sizes.page, sorted(sizes.pages), rates, run)
    out = options.out or ROWS
    write_rows(out, rows)
    if out.resolve() == ROWS:
        PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")
    print(f"counted; every time is predicted, at {rates.tflops:g} TFLOP/s, {rates.tb_s:g} TB/s, {rates.launch_us:g} us")
    print(tables(rows))


def kernels(device: Device, roofline: Roofline, budget: Budget, sizes: Sizes) -> Iterator[Row]:
    """Yields the roofline and the kernels' rows in its precision, one per number of pages."""
    from .budget import left_out, not_run

    yield roofline.row()
    try:
        from .kernels import row
    except ImportError as error:
        yield not_run(f"kernels, {roofline.dtype}", error)
        return
    for pages in sizes.pages:
        if not budget.fits("kernels", pages):
            yield left_out(f"kernels, {roofline.dtype}, {pages} pages", budget)
            continue
        started = time.monotonic()
        yield {**row(device, roofline, pages, sizes.tokens, sizes.hidden), "clocks": device.clocks()}
        budget.spent("kernels", pages, time.monotonic() - started)


def _seconds(started: float) -> float:
    return round(time.perf_counter() - started, 1)


if __name__ == "__main__":
    main()
