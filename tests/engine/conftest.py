"""Fixtures of the engine's tests: the default bundle, engines on it, and CMake builds of the C++ side."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from engine_helpers import ROOT, Pages, run
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
    """Four pages of three sizes: paper with dark strokes, so that visual tokens differ."""
    random = np.random.default_rng(7)
    out = []
    for height, width in ((288, 288), (320, 256), (288, 288), (64, 160)):
        page = np.full((height, width, 3), 245, np.uint8)
        for _ in range(40):
            y, x = random.integers(0, height - 8), random.integers(0, width - 30)
            page[y : y + random.integers(2, 8), x : x + random.integers(8, 30)] = random.integers(0, 120, 3)
        out.append(page)
    return out


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
