"""``ziprerank build``: plans for TensorRT-RTX and TensorRT, built ahead of time into the bundle (extra ``build``)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ziprerank.bundle import Bundle
from ziprerank.cli.extras import needs_extra
from ziprerank.runtime.engine import EngineOptions, load_engine
from ziprerank.runtime.onnxruntime import find_runtime
from ziprerank.runtime.providers import prepare


def build(
    bundle: Annotated[Path, typer.Argument(help="A bundle exported with --target cuda in bf16, fp16 or fp8.")],
    *,
    provider: Annotated[str, typer.Option(help="tensorrt-rtx (no GPU needed), or tensorrt (on the GPU itself).")],
    capability: Annotated[
        list[str] | None,
        typer.Option(help="Compute capability for tensorrt-rtx, such as 8.9; may be repeated. Default: all it knows."),
    ] = None,
) -> None:
    """Build a bundle's graphs ahead of time, so that a session starts without building anything."""
    with needs_extra("build"):
        from ziprerank.export.plans import TENSORRT, build_plans

        if provider == TENSORRT:
            prepare(provider, find_runtime())
        entry = build_plans(bundle, provider, capability or ())
        if provider == TENSORRT:  # the first session builds the parts beside the pruning operator and keeps them
            load_engine(Bundle.load(bundle, check="size"), EngineOptions(provider=provider))
    size = sum((bundle / provider / file.name).stat().st_size for file in (bundle / provider).iterdir())
    built_for = ", ".join(entry["compute_capabilities"]) or "this GPU"
    typer.echo(f"{bundle / provider}: {size / 1e6:.1f} MB for {built_for}, {entry['version']}")
