"""``ziprerank export``: a Qwen3-VL checkpoint to a bundle (extra ``export``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ziprerank.cli.extras import needs_extra
from ziprerank.cli.options import Queries
from ziprerank.manifest import read_manifest_fields
from ziprerank.windows import MAX_WINDOW

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ziprerank.export import Calibration

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
Weights = Annotated[Literal["auto", "link", "copy"], typer.Option(help="auto hard-links the shards where it can.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id.")]
KeepRatio = Annotated[float | None, typer.Option(help="Default share of visual tokens that are kept.")]
Window = Annotated[int | None, typer.Option(help=f"Default number of pages in a pass, 1..{MAX_WINDOW}.")]
Stride = Annotated[int | None, typer.Option(help="Default step of the window over more pages.")]
PruneText = Annotated[str | None, typer.Option(help="all_before_image or query_only.")]
Kernels = Annotated[bool, typer.Option("--kernels", help="Compile the pruning kernels too, for target cuda.")]
LongestSide = Annotated[int | None, typer.Option(help="Longest side of a page image in pixels.")]
Dpi = Annotated[float | None, typer.Option(help="Resolution of PDF pages, as far as the longest side allows it.")]
Blank = Annotated[str | None, typer.Option(help="Visual tokens of blank paper: keep, or drop before the model.")]

Prompt = Annotated[
    str | None,
    typer.Option(help="ziprerank, qwen3-vl-reranker or a file like prompt.json. Default: as the checkpoint says."),
]


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
    prompt: Prompt = None,
    kernels: Kernels = False,
    calibrate: Calibrate = None,
    query: Queries = None,
) -> None:
    """Turn a Qwen3-VL checkpoint into a bundle that the engine runs."""
    with needs_extra("export"):
        from ziprerank.export import ExportOptions, export_checkpoint

        options = ExportOptions(
            target=target,
            precision=precision,
            weights=weights,
            revision=revision,
            kernels=kernels,
            calibration=_calibration(calibrate, query),
            keep_ratio=keep_ratio,
            window=window,
            stride=stride,
            prune_text=prune_text,
            longest_side=longest_side,
            dpi=dpi,
            blank=blank,
            prompt=prompt,
        )
        export_checkpoint(checkpoint, out, options)
    typer.echo(f"prompt: {read_manifest_fields(out).object('source').text('prompt')}")
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    typer.echo(f"{out}: {size / 1e6:.1f} MB")


def _calibration(files: list[Path] | None, queries: list[str] | None) -> Calibration | None:
    if not files and not queries:
        return None
    from ziprerank.bundle import ImageRules
    from ziprerank.cli.bundle_comparison import read_pages
    from ziprerank.export import Calibration

    def pages(image: Mapping[str, Any]) -> list[NDArray[np.uint8]]:
        fields = {name: image[name] for name in ImageRules.__dataclass_fields__}
        return [page for pages in read_pages(files or [], ImageRules(**fields)).values() for page in pages]

    return Calibration(pages, queries or [])
