"""Fixtures of the Python package's tests. Everything runs on real bundles, real PDFs and the real engine."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_bundle import copy_default_bundle
from ziprerank.bundle import Bundle, default_bundle
from ziprerank.reranker import Reranker

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))  # for qwen_tokenizer

SAMPLE = ROOT / "python" / "examples" / "sample.pdf"


@pytest.fixture(scope="session")
def sample() -> Path:
    return SAMPLE


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return Bundle.load()


@pytest.fixture(scope="session")
def small_pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default bundle with pages of 288 px, so that the tests stay quick whatever size the default has."""
    return copy_default_bundle(tmp_path_factory.mktemp("bundle") / "small", 288)


@pytest.fixture(scope="session")
def reranker(small_pages: Path) -> Reranker:
    return Reranker.from_bundle(small_pages)


@pytest.fixture
def bundle_copy(tmp_path: Path) -> Path:
    """The default bundle, to be damaged."""
    return Path(shutil.copytree(default_bundle(), tmp_path / "bundle"))


@pytest.fixture(scope="session")
def noise() -> Callable[[int, int, int], np.ndarray]:
    """[h, w, 3] uint8 of smooth noise, different for every seed."""

    def make(height: int, width: int, seed: int) -> np.ndarray:
        cells = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        return np.asarray(Image.fromarray(cells).resize((width, height), Image.Resampling.BILINEAR))

    return make
