"""``ziprerank export`` and ``ziprerank verify``: the offline half (extras ``export`` and ``verify``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from ziprerank.errors import InvalidInput, MissingDependency

Checkpoint = Annotated[str, typer.Argument(help="Checkpoint directory in Hugging Face format, or a hub id.")]
Out = Annotated[Path, typer.Argument(help="The bundle to write: a new directory.")]
Target = Annotated[str, typer.Option(help="cpu, or cuda for CUDA and TensorRT.")]
Precision = Annotated[str | None, typer.Option(help="fp32, fp16 or bf16; default: fp32 on cpu, bf16 on cuda.")]
Weights = Annotated[Literal["auto", "link", "copy"], typer.Option(help="auto hard-links the shards where it can.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id.")]
KeepRatio = Annotated[float | None, typer.Option(help="Default share of visual tokens that are kept.")]
Window = Annotated[int | None, typer.Option(help="Default number of pages in a pass, 1..20.")]
Stride = Annotated[int | None, typer.Option(help="Default step of the window over more pages.")]
PruneText = Annotated[str | None, typer.Option(help="all_before_image or query_only.")]
Kernels = Annotated[bool, typer.Option("--kernels", help="Compile the pruning kernels too, for target cuda.")]
LongestSide = Annotated[int | None, typer.Option(help="Longest side of a page image in pixels.")]
Dpi = Annotated[float | None, typer.Option(help="Resolution of PDF pages, as far as the longest side allows it.")]


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
    kernels: Kernels = False,
) -> None:
    """Turn a Qwen3-VL checkpoint into a bundle that the engine runs."""
    with _offline_half("export"):
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
            kernels=kernels,
        )
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    typer.echo(f"{out}: {size / 1e6:.1f} MB")


def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle to check.")],
    checkpoint: Annotated[Path, typer.Argument(help="The checkpoint directory that it was exported from.")],
) -> None:
    """Compare a bundle with transformers on its checkpoint, and write the certificate into it."""
    with _offline_half("verify"):
        from ziprerank.export.verify import verify_bundle

        certificate = verify_bundle(bundle, checkpoint)
    table = Table(title="parity certificate", show_header=False)
    for key, value in certificate.items():
        table.add_row(key, str(value))
    Console().print(table)


@contextmanager
def _offline_half(extra: str) -> Iterator[None]:
    """Its errors become the command line's; a missing package, the extra that brings it."""
    try:
        yield
    except ImportError as error:
        raise MissingDependency(f'{error}: pip install "ziprerank[{extra}]"') from error
    except ValueError as error:
        from ziprerank.export import CheckpointError, ExportError
        from ziprerank.kernels import KernelError

        if not isinstance(error, CheckpointError | ExportError | KernelError):
            raise
        raise InvalidInput(str(error)) from error
