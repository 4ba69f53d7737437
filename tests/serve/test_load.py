"""Tests under load: the queue is bounded, deadlines hold, clients may leave, and shutdown answers every request."""

from __future__ import annotations

import base64
import io
import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pypdfium2 as pdfium
import pytest
from attackers import until
from server_process import Server
from ziprerank.reranker import Reranker

Text = Callable[[bytes], str]


def passes(count: int) -> dict[str, Any]:
    """A request body of under 100 KB that takes many passes."""
    stream, document = io.BytesIO(), pdfium.PdfDocument.new()
    for _ in range(count + 1):
        document.new_page(300, 400)
    document.save(stream)
    pdf = base64.b64encode(stream.getvalue()).decode()
    return {"query": "x", "documents": [{"pdf": pdf}], "window": 2, "stride": 1, "top_n": 1}


@pytest.fixture(scope="module")
def slow() -> dict[str, Any]:
    return passes(150)


@pytest.fixture(scope="module")
def endless() -> dict[str, Any]:
    """A request that takes seconds on any machine; every test ends before it does."""
    return passes(450)


@pytest.fixture(scope="module")
def narrow(bundle_path: Path) -> Iterator[Server]:
    with Server("--bundle", bundle_path, "--queue", 3, "--max-held-mib", 80, "--timeout", 300) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture(scope="module")
def hasty(bundle_path: Path) -> Iterator[Server]:
    with Server("--bundle", bundle_path, "--timeout", 0.5, "--timeout-per-page", 0) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def post(server: Server, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/rerank", json=body, timeout=120)


def connect(server: Server, body: bytes, length: int | None = None) -> socket.socket:
    """Opens a connection that has sent a request and has not read the answer."""
    where = urlsplit(server.url)
    connection = socket.create_connection((where.hostname or "", where.port or 0), timeout=30)
    head = "POST /v1/rerank HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body)
    return connection


def test_a_full_queue(narrow: Server, slow: dict[str, Any], threads: ThreadPoolExecutor) -> None:
    running = [threads.submit(post, narrow, slow) for _ in range(3)]
    until(narrow, "ziprerank_requests_in_flight", 3)
    answer = post(narrow, slow)
    assert answer.status_code == 429
    assert answer.json()["error"]["type"] == "queue_full"
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert httpx.get(f"{narrow.url}/health").status_code == 200
    answers = [request.result() for request in running]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({json.dumps(answer.json()["results"]) for answer in answers}) == 1


def test_a_client_that_leaves_frees_its_place(narrow: Server, endless: dict[str, Any]) -> None:
    """One client leaves while the engine runs its request, another while its request waits."""
    body = json.dumps(endless).encode()
    ranked = narrow.metric("ziprerank_pages_total")
    gone = narrow.metric("ziprerank_rejected_total", reason="client left")
    first, second = connect(narrow, body), connect(narrow, body)
    until(narrow, "ziprerank_requests_in_flight", 2)
    second.close()
    until(narrow, "ziprerank_rejected_total", gone + 1, reason="client left")
    first.close()
    until(narrow, "ziprerank_rejected_total", gone + 2, reason="client left")
    until(narrow, "ziprerank_requests_in_flight", 0)
    until(narrow, "ziprerank_held_bytes", 0)
    until(narrow, "ziprerank_pages_total", ranked)


def test_many_clients_get_what_one_gets(
    server: Server, reranker: Reranker, images: list[bytes], text: Text, threads: ThreadPoolExecutor
) -> None:
    def ask(turn: int) -> dict[int, float]:
        order = [(turn + place) % len(images) for place in range(3)]
        body = {"query": f"query {turn % 4}", "documents": [{"image": text(images[page])} for page in order]}
        results = post(server, body).raise_for_status().json()["results"]
        return {order[result["index"]]: result["relevance_score"] for result in results}

    def alone(turn: int) -> dict[int, float]:
        order = [(turn + place) % len(images) for place in range(3)]
        ranking = reranker.rank(f"query {turn % 4}", [images[page] for page in order])
        return {order[page.index]: page.probability for page in ranking}

    turns = range(16)
    for turn, found in zip(turns, threads.map(ask, turns), strict=True):
        assert found == pytest.approx(alone(turn), abs=1e-6)


def test_a_deadline(hasty: Server, endless: dict[str, Any]) -> None:
    answer = post(hasty, endless)
    assert answer.status_code == 504
    assert answer.json()["error"]["type"] == "deadline_exceeded"
    until(hasty, "ziprerank_requests_in_flight", 0)
    until(hasty, "ziprerank_held_bytes", 0)


def test_a_body_that_does_not_come(hasty: Server) -> None:
    with connect(hasty, b'{"query"', length=1000) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")
    until(hasty, "ziprerank_held_bytes", 0)


def test_bodies_are_bounded_together(narrow: Server) -> None:
    """They count as they come; an announced body takes no room."""
    come = b" " * (50 << 20)
    with connect(narrow, b"{", length=60 << 20), connect(narrow, come, length=60 << 20) as first:
        until(narrow, "ziprerank_held_bytes", len(come) + 1)
        answer = httpx.post(f"{narrow.url}/v1/rerank", content=b" " * (31 << 20), timeout=60)
        if answer.status_code == 429:
            assert answer.json()["error"]["type"] == "memory_full"
        else:  # it came so slowly that the first one counts as stalled
            assert first.recv(65536).startswith(b"HTTP/1.1 408 ")
    until(narrow, "ziprerank_held_bytes", 0)


def test_sigterm_under_load_answers_everybody(
    bundle_path: Path, slow: dict[str, Any], threads: ThreadPoolExecutor
) -> None:
    with Server("--bundle", bundle_path, "--queue", 4, "--timeout", 300, "--drain", 300) as server:
        running: list[Future[httpx.Response]] = [threads.submit(post, server, slow) for _ in range(4)]
        until(server, "ziprerank_requests_in_flight", 4)
        server.terminate()
        answers = [request.result() for request in running]
        assert [answer.status_code for answer in answers] == [200] * 4
        assert server.wait() == 0
        with pytest.raises(httpx.ConnectError):
            post(server, slow)
        draining = next(line for line in server.log if line["message"] == "draining")
        assert draining["requests"] > 0


def test_the_time_to_drain_ends(bundle_path: Path, endless: dict[str, Any], threads: ThreadPoolExecutor) -> None:
    with Server("--bundle", bundle_path, "--drain", 0.2) as server:
        running = [threads.submit(post, server, endless) for _ in range(3)]
        until(server, "ziprerank_requests_in_flight", 3)
        server.terminate()
        statuses = [request.result().status_code for request in running]
        assert set(statuses) <= {200, 503}
        assert 503 in statuses
        assert server.wait() == 0
