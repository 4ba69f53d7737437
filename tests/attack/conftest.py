"""Fixtures of the attacks: a small bundle, a server, and documents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from attackers import encode, noise
from server_process import Server
from small_bundle import copy_default_bundle


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default bundle with pages of 192 px."""
    return copy_default_bundle(tmp_path_factory.mktemp("bundle") / "small", 192, min_pixels=1024, dpi=None)


@pytest.fixture(scope="session")
def server(bundle_path: Path) -> Iterator[Server]:
    """A server with the default settings."""
    with Server("--bundle", bundle_path) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture(scope="session")
def picture() -> str:
    """A page of noise, as base64 of a PNG."""
    return encode(noise(160, 200))
