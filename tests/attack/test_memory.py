"""What clients learn of each other, and what attacks leave behind (rows 11 and 13)."""

from __future__ import annotations

import asyncio
import gc
import io
import time
import weakref
from pathlib import Path

import httpx
import pytest
import uvicorn
from attackers import encode, rank
from PIL import Image
from server_process import Server
from uvicorn.server import ServerState
from ziprerank.serve.connections import Connections, bind
from ziprerank.serve.settings import Settings

KEYS = {"ZIPRERANK_API_KEY": "first second"}


@pytest.mark.parametrize("on_disk", [False, True])
def test_page_features_are_found_by_their_own_key_only(
    bundle_path: Path, tmp_path: Path, picture: str, on_disk: bool
) -> None:
    def ask(server: Server, key: str) -> None:
        body = {"query": "x", "documents": [picture]}
        headers = {"Authorization": f"Bearer {key}"}
        httpx.post(f"{server.url}/v1/rerank", json=body, headers=headers, timeout=60).raise_for_status()

    options = ["--bundle", bundle_path, "--cache-per-key"]
    if on_disk:
        options += ["--page-cache", tmp_path]
    found = "ziprerank_page_cache_hits_total"
    with Server(*options, variables=KEYS) as server:
        start = server.metric(found)
        ask(server, "first")
        ask(server, "second")
        assert server.metric(found) == start
        ask(server, "first")
        assert server.metric(found) == start + 1
        assert server.stop() == 0
    if on_disk:
        assert len([file for file in tmp_path.rglob("*") if file.is_file() and file.stat().st_size > 4096]) >= 2


def test_memory_of_large_images_is_given_back(bundle_path: Path, picture: str) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (6000, 6000), "white").save(stream, "PNG")
    images = [encode(stream.getvalue())] * 4
    with Server("--bundle", bundle_path, "--page-workers", "off") as server:  # else other processes decode them
        assert rank(server, picture).status_code == 200
        start = server.memory()
        body = {"query": "x", "documents": images}
        assert httpx.post(f"{server.url}/v1/rerank", json=body, timeout=120).status_code == 200
        deadline = time.monotonic() + 30
        while server.memory() > start + (150 << 20):
            assert time.monotonic() < deadline, f"{server.memory() >> 20} MiB, {start >> 20} at the start"
            time.sleep(0.1)
        assert server.stop() == 0


def test_a_lost_connection_is_freed_at_once() -> None:
    """With the body that it holds; a cycle of references would keep both until the garbage collector comes."""

    async def lost() -> weakref.ref[asyncio.BaseProtocol]:
        config = uvicorn.Config(lambda *_: None, http=bind(Connections(Settings(), lambda _: None)), log_config=None)
        config.load()
        connection = config.http_protocol_class(config=config, server_state=ServerState(), app_state={})  # type: ignore[call-arg]
        connection.connection_made(asyncio.Transport())
        connection.connection_lost(ConnectionResetError())
        return weakref.ref(connection)

    gc.disable()
    try:
        assert asyncio.run(lost())() is None
    finally:
        gc.enable()


def test_texts_take_no_memory_of_pages(picture: str) -> None:
    """Row 2: 500 drawn sheets of 1024 px would take 1.2 GB; each is drawn when its turn has come."""
    with Server("--timeout", 20, "--timeout-per-page", 0) as server:
        assert rank(server, picture).status_code == 200
        start = server.most_memory()
        body = {"query": "x", "documents": ["word"] * 500, "render_text": True}
        assert httpx.post(f"{server.url}/v1/rerank", json=body, timeout=60).status_code in (200, 504)
        assert server.most_memory() < start + (500 << 20)
        assert server.stop() == 0
