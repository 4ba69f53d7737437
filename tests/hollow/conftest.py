"""Bundles of random weights for CUDA, in the precisions that users choose from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from built_once import built_once
from ziprerank.bundle import Bundle
from ziprerank.export import ExportOptions, export_checkpoint
from ziprerank.export.precision import precision_for
from ziprerank.kernels import compile_kernels

Bundles = Callable[[str], Path]


@pytest.fixture(scope="session")
def wide_heads_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_checkpoint import save_wide_heads_checkpoint

    return built_once(tmp_path_factory, "checkpoint-wide-heads", save_wide_heads_checkpoint)


@pytest.fixture(scope="session")
def bundles(wide_heads_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """Returns the bundle of a precision, exported once."""

    def make(precision: str, out: Path) -> None:
        export_checkpoint(str(wide_heads_checkpoint), out, ExportOptions(target="cuda", precision=precision))
        bundle = Bundle.load(out)
        dtype = precision_for("cuda", precision).compute
        compile_kernels(out / "kernels", bundle.model["hidden_size"], dtype, bundle.model["levels"], [90])

    return lambda precision: built_once(tmp_path_factory, f"hollow-{precision}", lambda out: make(precision, out))
