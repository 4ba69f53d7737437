"""``ziprerank export`` and ``ziprerank verify``: the offline half (extras ``export`` and ``verify``)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from ziprerank.errors import InvalidInput, MissingDependency

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ziprerank.export.calibrate import Calibration

Checkpoint = Annotated[str, typer.Argument(help="Checkpoint directory in Hugging Face format, or a hub id.")]
Out = Annotated[Path, typer.Argument(help="The bundle to write: a new directory.")]
Target = Annotated[str, typer.Option(help="cpu, or cuda for CUDA and TensorRT.")]
Precision = Annotated[
    str | None,
    typer.Option(
        help="cpu: fp32 (default), int8, int8-dynamic, int4, fp8; cuda: bf16 (default), fp16, fp32, int8, int4, fp8."
    ),
]
Calibrate = Annotated[
    list[Path] | None, typer.Option(help="For fp8: PDFs and images like those it will rank; may be repeated.")
]
Queries = Annotated[list[str] | None, typer.Option("--query", help="A query for these pages; may be repeated.")]
Weights = Annotated[Literal["auto", "link", "copy"], typer.Option(help="auto hard-links the shards where it can.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id.")]
KeepRatio = Annotated[float | None, typer.Option(help="Default share of visual tokens that are kept.")]
Window = Annotated[int | None, typer.Option(help="Default number of pages in a pass, 1..20.")]
Stride = Annotated[int | None, typer.Option(help="Default step of the window over more pages.")]
PruneText = Annotated[str | None, typer.Option(help="all_before_image or query_only.")]
Kernels = Annotated[bool, typer.Option("--kernels", help="Compile the pruning kernels too, for target cuda.")]
LongestSide = Annotated[int | None, typer.Option(help="Longest side of a page image in pixels.")]
Dpi = Annotated[float | None, typer.Option(help="Resolution of PDF pages, as far as the longest side allows it.")]

Blank = Annotated[str | None, typer.Option(help="Visual tokens of blank paper: keep, or drop before the model.")]


def export(
    checkpoint: Checkpoint,
    out: Out,
    *,
    target: Target = "cpu",
    precision: Precision = None,
    weights: Weights = "auto",
    revision: Revision = None,
    keep_ratio: KeepRatio = None,
    window: Window = None,
    stride: Stride = None,
    prune_text: PruneText = None,
    longest_side: LongestSide = None,
    dpi: Dpi = None,
    blank: Blank = None,
    kernels: Kernels = False,
    calibrate: Calibrate = None,
    query: Queries = None,
) -> None:
    """Turn a Qwen3-VL checkpoint into a bundle that the engine runs."""
    with offline_half("export"):
        from ziprerank.export import export_checkpoint

        export_checkpoint(
            checkpoint,
            out,
            target=target,
            precision=precision,
            weights=weights,
            revision=revision,
            keep_ratio=keep_ratio,
            window=window,
            stride=stride,
            prune_text=prune_text,
            longest_side=longest_side,
            dpi=dpi,
            blank=blank,
            kernels=kernels,
            calibration=_calibration(calibrate, query),
        )
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    typer.echo(f"{out}: {size / 1e6:.1f} MB")


def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle to check.")],
    reference: Annotated[Path, typer.Argument(help="The checkpoint directory that it came from, or an fp32 bundle.")],
    *,
    on: Annotated[
        list[Path] | None, typer.Option(help="PDFs and images to compare rankings on; may be repeated.")
    ] = None,
    query: Queries = None,
    provider: Annotated[str, typer.Option(help="Where BUNDLE runs, with an fp32 bundle.")] = "cpu",
    threads: Annotated[int, typer.Option(help="Threads of the engine; 0 lets ONNX Runtime choose.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="What was written into the bundle, as JSON.")] = False,
) -> None:
    """Write into a bundle how it compares with its checkpoint, or with an fp32 bundle of it.

    With a checkpoint: parity of an fp32 bundle with transformers. With an fp32 bundle: how well the rankings of the two
    agree, on random pages and on those given.
    """
    if (reference / "ziprerank.json").is_file():
        with offline_half("export"):
            result = _agreement(bundle, reference, on or [], query or [], provider=provider, threads=threads)
    elif on or query:
        raise InvalidInput(f"{reference} is no bundle: --on and --query are for comparing rankings with an fp32 bundle")
    else:
        with offline_half("verify"):
            from ziprerank.export.verify import verify_bundle

            result = verify_bundle(bundle, reference)
    if as_json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False, indent=2) + "\n")
    else:
        Console().print(_rows(result) if "rows" in result else _pairs(result))


def _agreement(
    bundle: Path, reference: Path, files: list[Path], queries: list[str], *, provider: str, threads: int
) -> dict[str, Any]:
    from ziprerank.bundle import Bundle
    from ziprerank.cli.judging import judge_both, read_pages
    from ziprerank.export.agreement import check_comparable, record
    from ziprerank.export.samples import QUERIES, SIZES, page_image
    from ziprerank.runtime.onnxruntime import find_runtime
    from ziprerank.windows import MAX_WINDOW

    if files and not queries:
        raise InvalidInput("no query for the pages of --on: give --query, as often as you like")
    check_comparable(bundle, reference)
    opened = Bundle.load(bundle, check="size")
    drawn = [page_image(number, SIZES[number % len(SIZES)]) for number in range(MAX_WINDOW)]
    sets = {"random": drawn, **read_pages(files, opened.image)}
    rows = judge_both(reference, bundle, sets, queries or QUERIES, provider=provider, threads=threads)
    return record(bundle, reference, f"onnxruntime {find_runtime().version}, {provider}", rows)


def _pairs(certificate: dict[str, Any]) -> Table:
    table = Table(title="parity certificate", show_header=False)
    for key, value in certificate.items():
        table.add_row(key, str(value))
    return table


def _rows(report: dict[str, Any]) -> Table:
    table = Table(title=f"{report['precision']}: agreement with fp32")
    columns = ("pages", "keep_ratio", "passes", "kendall_tau", "top1", "max_logit_error", "kept_overlap")
    for name in columns:
        table.add_column(name.replace("_", " "), justify="left" if name == "pages" else "right")
    for row in report["rows"]:
        table.add_row(*(str(row[name]) for name in columns))
    return table


def _calibration(files: list[Path] | None, queries: list[str] | None) -> Calibration | None:
    if not files and not queries:
        return None
    from ziprerank.bundle import ImageRules
    from ziprerank.cli.judging import read_pages
    from ziprerank.export.calibrate import Calibration

    def pages(image: Mapping[str, Any]) -> list[NDArray[np.uint8]]:
        fields = {name: image[name] for name in ImageRules.__dataclass_fields__}
        return [page for pages in read_pages(files or [], ImageRules(**fields)).values() for page in pages]

    return Calibration(pages, queries or [])


@contextmanager
def offline_half(extra: str) -> Iterator[None]:
    """Its errors become the command line's; a missing package, the extra that brings it."""
    try:
        yield
    except MissingDependency:
        raise
    except ImportError as error:
        raise MissingDependency(f'{error}: pip install "ziprerank[{extra}]"') from error
    except ValueError as error:
        from ziprerank.export import CheckpointError, ExportError
        from ziprerank.kernels import KernelError

        if not isinstance(error, CheckpointError | ExportError | KernelError):
            raise
        raise InvalidInput(str(error)) from error
