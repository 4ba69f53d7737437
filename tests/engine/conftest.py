"""Fixtures of the engine's tests: the default bundle, engines on it, and CMake builds of the C++ side."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from built_once import built_once
from engine_helpers import ROOT, Pages, make_pages, run
from fake_gpu import Result, Session, start_session
from filelock import FileLock
from ziprerank import _engine
from ziprerank.export import ExportOptions, export_checkpoint
from ziprerank.kernels import compile_kernels
from ziprerank.runtime.onnxruntime import find_runtime


@pytest.fixture(scope="session")
def default_bundle() -> Path:
    return ROOT / "python" / "ziprerank" / "bundles" / "default"


@pytest.fixture(scope="session")
def runtime_library() -> str:
    return str(find_runtime().library)


@pytest.fixture(scope="session")
def engine(default_bundle: Path, runtime_library: str) -> _engine.Engine:
    """Reads every visual token, blank or not; test_blank.py is about those that do not."""
    return _engine.Engine(str(default_bundle), runtime_library, blank="keep")


@pytest.fixture(scope="session")
def pages() -> Pages:
    """Four pages of three sizes."""
    return make_pages()


@pytest.fixture
def bundle_copy(default_bundle: Path, tmp_path: Path) -> Path:
    """The default bundle, to be damaged."""
    return Path(shutil.copytree(default_bundle, tmp_path / "bundle"))


@cache
def lacks_clang() -> str:
    """Why the preset ``clang`` cannot be built here; empty where it can."""
    command = ["clang++", "-stdlib=libc++", "-fuse-ld=lld", "-x", "c++", "-", "-o", os.devnull]
    try:
        done = subprocess.run(
            command, input="#include <string>\nint main() {}", capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return "clang++ is not installed"
    return "" if done.returncode == 0 else done.stderr.strip().splitlines()[0]


@pytest.fixture(scope="session")
def build() -> Callable[[str], Path]:
    """Builds a CMake preset under build/ (kept between runs) and returns its folder."""
    built: set[str] = set()

    def make(preset: str) -> Path:
        if preset == "clang" and (missing := lacks_clang()):
            pytest.skip(f"needs clang, lld, libc++-dev and libc++abi-dev: {missing}")
        folder = ROOT / "build" / preset
        if preset not in built:
            folder.parent.mkdir(exist_ok=True)
            with FileLock(f"{folder}.lock"):  # other test processes wait, then find nothing left to do
                run("cmake", "-S", ROOT, "-B", folder, "--preset", preset)
                run("cmake", "--build", folder, "-j2")
            built.add(preset)
        return folder

    return make


@pytest.fixture(scope="session")
def cuda_bundle(deepstack_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights with DeepStack, in standard operators and float32 (the CPU runs it too), and kernels for 9.0."""

    def make(out: Path) -> None:
        export_checkpoint(str(deepstack_checkpoint), out, ExportOptions(target="cuda", precision="fp32"))
        compile_kernels(out / "kernels", 256, "fp32", 4, targets=[90])

    return built_once(tmp_path_factory, "cuda-bundle", make)


@pytest.fixture(scope="session")
def session(build: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Starts `start_session` on the stand-ins."""
    fakes = build("dev") / "engine" / "tests"
    return lambda bundle, *arguments, **settings: start_session(
        fakes, tmp_path_factory.mktemp("session") / "log", bundle, *arguments, **settings
    )


@pytest.fixture(scope="session")
def cpu(session: Session, cuda_bundle: Path) -> Result:
    return session(cuda_bundle, provider="cpu", fake=False)
