"""Ray Serve: two replicas answer what the service answers, and a killed one costs nobody an answer."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray
from pydantic import ValidationError
from ray import serve
from serve.test_dialects import (  # noqa: F401 - the same tests, on the server below
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
from ziprerank.scale.ray_serve import Options, build

QUERY = "dividend shareholders board directors"


class OnRay:
    """Where ``Server`` of the other tests has its process."""

    def __init__(self, url: str) -> None:
        self.url = url


@pytest.fixture(scope="module")
def server(bundle_path: Path) -> Iterator[OnRay]:
    ray.init(num_cpus=2, object_store_memory=100 << 20, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": 8765})
    options = Options(bundle=bundle_path, replicas=2, cpus=1, cache_mib=64, settings={"max_pages": 200})  # type: ignore[arg-type]
    serve.run(build(options))
    yield OnRay("http://127.0.0.1:8765")
    serve.shutdown()
    ray.shutdown()


@pytest.fixture
def client(server: OnRay) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def replicas() -> set[int]:
    """Process ids of this session's replicas."""
    session = ray.get_runtime_context().get_session_name().encode()
    found = set()
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if (entry / "cmdline").read_bytes().startswith(b"ray::ServeReplica:default:ziprerank"):
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                if session in Path(f"/proc/{parent}/cmdline").read_bytes():
                    found.add(int(entry.name))
    return found


def running() -> int:
    status = serve.status().applications["default"].deployments["ziprerank"]
    return status.replica_states.get("RUNNING", 0)


def body(images: list[bytes], number: int) -> dict[str, Any]:
    """Some dozens of passes, so that it is under way for a while; every number asks for other pages."""
    documents = [data_url(images[(number + place) % len(images)]) for place in range(25)]
    return {"query": QUERY, "documents": documents, "window": 2, "stride": 1, "include": ["logit"]}


def ask(url: str, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
    """The answer, and the statuses that were not it: the retry that a client has to make."""
    failed: list[int] = []
    while True:
        answer = httpx.post(f"{url}/v1/rerank", json=request, timeout=120)
        if answer.status_code == 200:
            return answer.json(), failed
        failed.append(answer.status_code)
        assert len(failed) < 20, answer.text
        time.sleep(0.5)


def test_both_replicas_answer(server: OnRay, images: list[bytes]) -> None:
    assert running() == 2
    assert len(replicas()) == 2
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: ask(server.url, body(images, number)), range(16)))
    assert all(failed == [] for _, failed in answers)
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


def test_a_killed_replica_costs_nobody_an_answer(server: OnRay, images: list[bytes]) -> None:
    requests = [body(images, number) for number in range(5)]
    right = [ask(server.url, request)[0]["results"] for request in requests]
    victim, other = sorted(replicas())
    with ThreadPoolExecutor(6) as threads:
        under_way = [threads.submit(ask, server.url, requests[number % 5]) for number in range(60)]
        while sum(one.done() for one in under_way) < 10:
            time.sleep(0.02)
        os.kill(victim, signal.SIGKILL)
        answers = [one.result() for one in under_way]
    for number, (answer, _) in enumerate(answers):
        assert answer["results"] == right[number % 5]
    failed = [statuses for _, statuses in answers if statuses]
    assert len(failed) <= 6  # those that the replica had; Ray sends what it had not begun to the other one
    assert {status for statuses in failed for status in statuses} <= {500, 503}
    deadline = time.monotonic() + 120
    while len(replicas() - {victim}) < 2 or running() < 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert other in replicas()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"replica": 2}, "replica"),
        ({"settings": {"max_page": 3}}, "settings has no max_page, known are"),
        ({"settings": {"queue": 0}}, "queue 0: must be at least 1"),
        ({"gpus": -1}, "gpus"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Options(**options)


def test_autoscaling() -> None:
    application = build(Options(min_replicas=1, max_replicas=7, gpus=0.5, cpus=2, target_ongoing_requests=3))
    deployment = application._bound_deployment
    scaling = deployment._deployment_config.autoscaling_config
    assert scaling is not None
    assert (scaling.min_replicas, scaling.max_replicas, scaling.target_ongoing_requests) == (1, 7, 3)
    assert deployment.ray_actor_options is not None
    assert deployment.ray_actor_options["num_cpus"] == 2
    assert deployment.ray_actor_options["num_gpus"] == 0.5
    assert deployment.max_ongoing_requests == 16
