"""Fixtures of the attacks: a small bundle, a server, and documents."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attackers import encode, noise
from reportlab.pdfgen.canvas import Canvas
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


@pytest.fixture(scope="session")
def make_pdf() -> Callable[..., bytes]:
    def make(pages: int, padding: int = 0) -> bytes:
        stream = io.BytesIO()
        canvas = Canvas(stream, pagesize=(300, 400), invariant=1)
        for page in range(1, pages + 1):
            canvas.drawString(40, 200, f"page {page}")
            canvas.showPage()
        canvas.save()
        return stream.getvalue() + b"%" * padding

    return make
