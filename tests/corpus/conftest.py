"""Fixtures of the corpus."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def sample() -> Path:
    return Path(__file__).parents[2] / "python" / "examples" / "sample.pdf"
