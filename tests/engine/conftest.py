"""Fixtures of the engine's tests: the default bundle, engines on it, and CMake builds of the C++ side."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from engine_helpers import ROOT, Pages, make_pages, run
from ziprerank import _engine
from ziprerank.runtime import find_runtime


@pytest.fixture(scope="session")
def default_bundle() -> Path:
    return ROOT / "python" / "ziprerank" / "bundles" / "default"


@pytest.fixture(scope="session")
def runtime_library() -> str:
    return str(find_runtime().library)


@pytest.fixture(scope="session")
def engine(default_bundle: Path, runtime_library: str) -> _engine.Engine:
    return _engine.Engine(str(default_bundle), runtime_library)


@pytest.fixture(scope="session")
def pages() -> Pages:
    """Four pages of three sizes."""
    return make_pages()


@pytest.fixture
def bundle_copy(default_bundle: Path, tmp_path: Path) -> Path:
    """The default bundle, to be damaged."""
    return Path(shutil.copytree(default_bundle, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def build() -> Callable[[str], Path]:
    """Builds a CMake preset under build/ (kept between runs) and returns its folder."""
    built: dict[str, Path] = {}

    def make(preset: str) -> Path:
        if preset not in built:
            run("cmake", "-S", ROOT, "-B", ROOT / "build" / preset, "--preset", preset)
            run("cmake", "--build", ROOT / "build" / preset, "-j2")
            built[preset] = ROOT / "build" / preset
        return built[preset]

    return make
