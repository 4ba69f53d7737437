"""Settings that must be made before any test module is imported, and checkpoints that several folders test with."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from built_once import built_once

if TYPE_CHECKING:
    from hollow import HollowGpu


def pytest_configure(config: pytest.Config) -> None:
    """Set the variables that libraries read when they are first imported."""
    if config.getoption("markexpr").strip() != "gpu":
        os.environ.setdefault("TRITON_INTERPRET", "1")  # before transformers imports Triton
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes > 1:  # so that all processes together have one thread for each processor
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))


@pytest.fixture(scope="session")
def make_pdf() -> Callable[..., bytes]:
    """The function of pdf_files.py."""
    from pdf_files import make_pdf

    return make_pdf


@pytest.fixture(scope="session")
def default_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of the bundle in the package; tests do not change it."""
    return _put_together("default", tmp_path_factory)


@pytest.fixture(scope="session")
def yes_no_bundle(default_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default checkpoint with the prompt of Qwen3-VL-Reranker and pages of 256 px; tests do not change it."""
    from ziprerank.export import ExportOptions, export_checkpoint

    options = ExportOptions(prompt="qwen3-vl-reranker", longest_side=256)
    return built_once(
        tmp_path_factory, "bundle-yes-no", lambda out: export_checkpoint(str(default_checkpoint), out, options)
    )


@pytest.fixture(scope="session")
def reader_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tower that the default checkpoint was built on, with a random decoder; tests do not change it."""
    return _put_together("reader", tmp_path_factory)


@pytest.fixture(scope="session")
def start_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the small model's shapes, as the small recipe begins; tests do not change it."""
    return _put_together("start", tmp_path_factory)


@pytest.fixture(scope="session")
def deepstack_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the small model's shapes, with DeepStack and several heads; tests do not change it."""
    from tiny_checkpoint import save_deepstack_checkpoint

    return built_once(tmp_path_factory, "checkpoint-deepstack", save_deepstack_checkpoint)


@pytest.fixture(scope="session")
def hollow_gpu(tmp_path_factory: pytest.TempPathFactory) -> HollowGpu:
    """ONNX Runtime's CUDA provider on stub CUDA libraries (tests/hollow); skips where they cannot be had."""
    from hollow import TESTED, HollowGpu, Unavailable, prepare
    from hollow.wheel import unpacked

    try:
        folder = built_once(tmp_path_factory, "hollow-gpu", prepare)
        return HollowGpu(folder, unpacked(), TESTED)
    except Unavailable as reason:
        pytest.skip(f"no hollow GPU: {reason}")


def _put_together(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ziprerank.train.checkpoint import put_together  # imports Triton

    # in a folder of its own name, which bundles carry
    return built_once(tmp_path_factory, f"checkpoints-{kind}", lambda out: put_together(kind, out / kind)) / kind
