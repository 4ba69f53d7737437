"""Tests on Ray Serve: two replicas answer as the service does, and no request is lost when one is killed."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import ray
from fastapi.testclient import TestClient
from free_port import free_port
from PIL import Image
from ray import serve
from ray.exceptions import RayActorError
from serve.test_dialects import (  # noqa: F401 - the same tests run on the server below
    data_url,
    test_cohere_errors,
    test_cohere_v1_client,
    test_cohere_v2_client,
    test_encrypted_pdf_with_its_password,
    test_jina,
    test_pdf_in_json,
    test_shapes_may_be_mixed,
    test_texts_are_drawn_when_asked_for,
    test_uploaded_files,
    test_vllm,
)
from ziprerank.reranker import Reranker
from ziprerank.scale.ray_serve import Options, build
from ziprerank.serve.app import create_app
from ziprerank.serve.settings import Settings

QUERY = "dividend shareholders board directors"
pytestmark = pytest.mark.slow  # a cluster with five engines; test_ray_options.py and test_ray_ingress.py need none


class OnRay:
    """Takes the place of ``Server`` in the tests of the service."""

    def __init__(self, url: str) -> None:
        self.url = url


@pytest.fixture(scope="module")
def server(bundle_path: Path) -> Iterator[OnRay]:
    """Ray Serve with two applications: one of two replicas, and a small one under ``/small``.

    The small one is full after a few requests, repeats none, and has the model read blank paper too.
    """
    # a proxy that is slow to start on a busy machine is waited for: Ray replaces it after 5 s
    os.environ["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"] = "300"
    ray.init(num_cpus=3, object_store_memory=200 << 20, include_dashboard=False, log_to_driver=False)
    port = free_port()
    with suppress(TimeoutError, RayActorError):  # replaced nevertheless: the next one is waited for below
        serve.start(http_options={"host": "127.0.0.1", "port": port})
    common = {"bundle": bundle_path, "pool_bytes": "64M", "ingress_replicas": 1}
    main = Options(**common, replicas=2, settings={"max_pages": 200})
    small = Options(**common, replicas=1, attempts=1, blank="keep", settings={"queue": 2, "max_body_bytes": 10_000_000})
    serve.run_many(
        [
            serve.RunTarget(build(main)),
            serve.RunTarget(build(small), name="small", route_prefix="/small"),
        ]
    )
    url = f"http://127.0.0.1:{port}"
    wait(lambda: answers(f"{url}/-/healthz"), seconds=300)
    yield OnRay(url)
    serve.shutdown()
    ray.shutdown()
    del os.environ["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"]


@pytest.fixture
def client(server: OnRay) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def replicas(application: str = "default") -> set[int]:
    """Returns the process ids of this session's engines."""
    session = ray.get_runtime_context().get_session_name().encode()
    name = f"ray::ServeReplica:{application}:ziprerank".encode()
    found = set()
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if (entry / "cmdline").read_bytes().startswith(name):
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                if session in Path(f"/proc/{parent}/cmdline").read_bytes():
                    found.add(int(entry.name))
    return found


def running() -> int:
    status = serve.status().applications["default"].deployments["ziprerank"]
    return status.replica_states.get("RUNNING", 0)


def answers(url: str) -> bool:
    """Whether a server answers 200 there."""
    try:
        return httpx.get(url, timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def wait(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def body(images: list[bytes], number: int, pages: int = 25) -> dict[str, Any]:
    """Returns a request of some dozens of passes, so that it runs for a while; each ``number`` has different pages."""
    documents = [data_url(images[(number + place) % len(images)]) for place in range(pages)]
    return {"query": QUERY, "documents": documents, "window": 2, "stride": 1, "include": ["logit"]}


def ask(url: str, request: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{url}/v1/rerank", json=request, timeout=120)


def post(server: OnRay, path: str, request: dict[str, Any]) -> HTTPConnection:
    """Sends a request whose answer nobody has read yet."""
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=120)
    connection.request("POST", path, json.dumps(request), {"Content-Type": "application/json"})
    return connection


def metric(url: str, line: str) -> Callable[[], bool]:
    """Tells whether the replica that answers, the least busy one, has that line among its metrics."""
    return lambda: line in httpx.get(f"{url}/metrics", timeout=60).text.splitlines()


def test_both_replicas_answer(server: OnRay, images: list[bytes]) -> None:
    assert running() == 2
    assert len(replicas()) == 2
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: ask(server.url, body(images, number)), range(16)))
    assert [answer.status_code for answer in answers] == [200] * 16
    started = set()  # when each process did
    for _ in range(40):
        lines = httpx.get(f"{server.url}/metrics", timeout=30).text.splitlines()
        started |= {line for line in lines if line.startswith("process_start_time_seconds ")}
    assert len(started) == 2


def test_operations(client: httpx.Client) -> None:
    while client.get("/ready").status_code == 503:
        time.sleep(0.1)
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/info").json()["limits"]["max_pages"] == 200
    assert client.get("/nowhere").json()["error"]["code"] == 404
    assert client.get("/small/info").json()["limits"]["queue"] == 2


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/v1/rerank", b'{"query": ', 400),
        ("POST", "/v1/rerank", b'{"query": "a", "documents": ["a text of words"]}', 422),
        ("POST", "/v1/rerank", b'{"query": "a", "documents": [' + b'"",' * 200 + b'""]}', 413),
        ("POST", "/v1/rerank/files", b"\xff\x00\r\n", 415),
        ("PUT", "/v2/rerank", b"", 405),
        ("GET", "/nowhere?%C3%A4=%2F", b"", 404),
        ("GET", "/", b"", 200),
        ("GET", "/static/app.js", b"", 200),
        ("HEAD", "/static/app.js", b"", 200),
        ("GET", "/openapi.json", b"", 200),
    ],
)
def test_answers_pass_unchanged(
    client: httpx.Client, reranker: Reranker, method: str, path: str, content: bytes, status: int
) -> None:
    headers = {"X-Request-ID": "a-request"}
    if content.startswith(b"{"):
        headers["Content-Type"] = "application/json"
    answer = client.request(method, path, content=content, headers=headers)
    alone = TestClient(create_app(reranker, Settings(max_pages=200)))
    wanted = alone.request(method, path, content=content, headers=headers)
    assert (answer.status_code, answer.content) == (status, wanted.content)
    of_servers = ("date", "server")
    kept = {(name, value) for name, value in answer.headers.multi_items() if name not in of_servers}
    assert kept == set(wanted.headers.multi_items())


def test_blank_tokens_are_left_out_unless_kept(client: httpx.Client, make_pdf: Callable[..., bytes]) -> None:
    files = [("files", ("page.pdf", make_pdf()))]
    usages = [
        client.post(path, data={"query": "page"}, files=files).raise_for_status().json()["usage"]
        for path in ("/v1/rerank/files", "/small/v1/rerank/files")
    ]
    assert usages[0]["blank_tokens"] > 0
    assert usages[1]["blank_tokens"] == 0
    assert usages[0]["visual_tokens"] == usages[1]["visual_tokens"]


def test_large_uploads(client: httpx.Client, reranker: Reranker) -> None:
    files = []
    for seed in range(3):
        stream = io.BytesIO()
        pixels = np.random.default_rng(seed).integers(0, 256, (1600, 1200, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(stream, "PNG", compress_level=0)
        files.append(stream.getvalue())
    assert sum(map(len, files)) > 17_000_000
    parts = [("files", (f"{number}.png", file)) for number, file in enumerate(files)]
    answer = client.post("/v1/rerank/files", data={"query": QUERY}, files=parts).raise_for_status().json()
    wanted = {page.index: page.probability for page in reranker.rank(QUERY, files)}
    found = {result["index"]: result["relevance_score"] for result in answer["results"]}
    assert found == pytest.approx(wanted, abs=1e-6)


def test_too_large_a_body_is_not_passed_on(client: httpx.Client) -> None:
    answer = client.post("/small/v1/rerank", content=b"x" * 10_000_001)
    assert answer.status_code == 413
    assert answer.json()["message"] == (
        "a body of 10,000,001 bytes or more, at most 10,000,000: send fewer or smaller pages"
    )


def test_a_full_application(server: OnRay, images: list[bytes]) -> None:
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda number: ask(server.url + "/small", body(images, number, 60)), range(12)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 1 <= len(refused) < 12  # two are under way, two wait
    for answer in refused:
        message = "all replicas are full and 2 requests wait: try again later"
        detail = {"message": message, "type": "queue_full", "param": None, "code": 503}
        assert answer.status_code == 503
        assert answer.json() == {"error": detail, "message": message, "detail": message}
        assert 1 <= int(answer.headers["retry-after"]) <= 60


def test_a_client_that_leaves_stops_its_ranking(server: OnRay, images: list[bytes]) -> None:
    small = server.url + "/small"
    connection = post(server, "/small/v1/rerank", body(images, 0, 200))
    wait(metric(small, "ziprerank_requests_in_flight 1.0"))
    connection.close()
    wait(metric(small, 'ziprerank_rejected_total{reason="client left"} 1.0'))


def test_a_killed_replica_costs_nobody_an_answer(server: OnRay, images: list[bytes]) -> None:
    requests = [body(images, number) for number in range(5)]
    right = [ask(server.url, request).json()["results"] for request in requests]
    victim, other = sorted(replicas())
    with ThreadPoolExecutor(6) as threads:
        under_way = [threads.submit(ask, server.url, requests[number % 5]) for number in range(60)]
        wait(lambda: sum(one.done() for one in under_way) >= 10)
        os.kill(victim, signal.SIGKILL)
        answers = [one.result() for one in under_way]
    assert [answer.status_code for answer in answers] == [200] * 60
    for number, answer in enumerate(answers):
        assert answer.json()["results"] == right[number % 5]
    wait(lambda: len(replicas() - {victim}) == 2 and running() == 2)
    assert other in replicas()


def test_replicas_that_die_too_often(server: OnRay, images: list[bytes]) -> None:
    connection = post(server, "/small/v1/rerank", body(images, 0, 200))
    wait(metric(server.url + "/small", "ziprerank_requests_in_flight 1.0"))
    (victim,) = replicas("small")
    os.kill(victim, signal.SIGKILL)
    answer = connection.getresponse()
    error = json.loads(answer.read())["error"]
    assert (answer.status, error["type"], error["code"]) == (503, "replica_lost", 503)
    assert error["message"] == "the replica that handled the request died (attempt 1 of 1): try again later"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
