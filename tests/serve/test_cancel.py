"""A client that leaves while its pass runs: the pass ends, and the next request is answered."""

from __future__ import annotations

import asyncio
import base64
import json

from asgi_client import ask_and_leave
from blocking_engine import BlockingEngine
from fastapi.testclient import TestClient
from ziprerank.reranker import Reranker
from ziprerank.serve.app import create_app


def test_a_client_that_leaves_ends_its_pass(reranker: Reranker, images: list[bytes]) -> None:
    documents = [{"image": "data:image/png;base64," + base64.b64encode(images[0]).decode()}]
    body = {"query": "invoice", "documents": documents}
    engine = BlockingEngine(reranker.engine)
    app = create_app(Reranker(reranker.bundle, engine))

    async def leave() -> None:
        async def in_its_pass() -> None:
            assert await asyncio.to_thread(engine.began.wait, 60)

        await ask_and_leave(app, "/v1/rerank", "application/json", json.dumps(body).encode(), in_its_pass)

    engine.blocks = False
    with TestClient(app) as client:
        want = client.post("/v1/rerank", json=body).json()["results"]
        engine.blocks = True
        client.portal.call(leave)  # type: ignore[union-attr]
        engine.blocks = False
        assert client.post("/v1/rerank", json=body).json()["results"] == want
        assert "ziprerank_requests_in_flight 0.0" in client.get("/metrics").text
    assert engine.ended == 1
