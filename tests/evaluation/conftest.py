"""Small data sets in the published forms, and a bundle with small pages."""

from __future__ import annotations

from pathlib import Path

import pytest
from built_once import built_once
from small_bundle import copy_default_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default bundle with pages of 256 px, so that a ranking takes milliseconds."""
    return built_once(tmp_path_factory, "bundle-eval", lambda out: copy_default_bundle(out / "bundle", 256)) / "bundle"
