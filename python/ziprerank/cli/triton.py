"""``ziprerank triton-repo``: a model repository for NVIDIA Triton Inference Server."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import typer

from ziprerank.cli.extras import needs_extra


def triton_repo(
    bundle: Annotated[Path, typer.Argument(help="A bundle; its target must fit --device.")],
    out: Annotated[Path, typer.Argument(help="The model repository to write; must not be there yet.")],
    *,
    device: Annotated[Literal["cpu", "gpu"], typer.Option(help="What the instances run on.")] = "cpu",
    instances: Annotated[int, typer.Option(help="Instances of each model; they share one session.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of each session; 0 lets ONNX Runtime choose.")] = 0,
    at: Annotated[
        Path | None, typer.Option(help="The repository's path as the server sees it, such as /models. Default: OUT.")
    ] = None,
) -> None:
    """Write BUNDLE as a model repository: the models vision and rerank on the ONNX Runtime backend."""
    with needs_extra("export"):
        from ziprerank.scale.triton import Placement, write_repository
    seen_at = None if at is None else PurePosixPath(at)
    write_repository(bundle, out, Placement(device, instances, threads, seen_at))
    typer.echo(f"{out}: vision and rerank; README.md there says how to start the server and what a client does")
