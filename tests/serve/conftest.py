"""Fixtures: a real server in its own process, the library on the same bundle, and an HTTP client."""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
from PIL import Image
from server_process import Server
from small_bundle import copy_default_bundle
from ziprerank.reranker import Reranker

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SAMPLE = Path(__file__).parents[2] / "python" / "examples" / "sample.pdf"


@pytest.fixture(scope="session")
def sample() -> bytes:
    return SAMPLE.read_bytes()


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default bundle with pages of 192 px, whatever size the default has."""
    out = tmp_path_factory.mktemp("bundle") / "small"
    return copy_default_bundle(out, 192, min_pixels=1024, dpi=None)


@pytest.fixture(scope="session")
def reranker(bundle_path: Path) -> Reranker:
    return Reranker.from_bundle(bundle_path, check="size")


@pytest.fixture(scope="session")
def server(bundle_path: Path) -> Iterator[Server]:
    """A server with the default settings, except for two limits low enough for a test to reach."""
    with Server("--bundle", bundle_path, "--max-pages", 200, "--max-image-pixels", 4_000_000) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """A client of ``server``; after each test it checks that the server still runs and holds no bytes or requests."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client
        assert client.get("/ready").status_code == 200
        metrics = client.get("/metrics").text.splitlines()
        assert "ziprerank_held_bytes 0.0" in metrics
        assert "ziprerank_requests_in_flight 0.0" in metrics


@pytest.fixture(scope="session")
def images() -> list[bytes]:
    """Five pages of noise as PNG, JPEG and WebP files."""
    files = []
    for seed, kind in enumerate(("PNG", "JPEG", "WebP", "PNG", "JPEG")):
        cells = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(cells).resize((160, 200), Image.Resampling.BILINEAR).save(stream, kind)
        files.append(stream.getvalue())
    return files


@pytest.fixture(scope="session")
def text() -> Callable[[bytes], str]:
    """A function that encodes a file in base64."""
    return lambda data: base64.b64encode(data).decode()


@pytest.fixture(scope="session")
def encrypted(make_pdf: Callable[..., bytes]) -> bytes:
    return make_pdf(password="secret")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on the path: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """The web page; afterwards the fixture checks its requests and console errors: it needs nothing but this server."""
    page = browser.new_page()
    page.set_default_timeout(60_000)  # ms; a busy machine
    hosts, complaints = set(), []
    page.on("request", lambda request: hosts.add(re.sub(r"^(\w+://[^/]*|data:).*", r"\1", request.url)))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto(server.url)
    yield page
    assert hosts <= {server.url, "data:"}
    assert [text for text in complaints if "422" not in text] == []  # that a request was refused, as tests want it
    page.close()
