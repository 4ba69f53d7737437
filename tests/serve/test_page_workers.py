"""The service while a page hangs, or while no page can be prepared."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from hostile_files import endless_pdf
from server_process import Server
from waiting import wait_until
from ziprerank.inputs.workers.pool import close_workers
from ziprerank.reranker import Reranker
from ziprerank.serve.app import create_app

FOREVER = ("--page-timeout", 3600, "--timeout", 3600)


def post(url: str, data: bytes, answers: list[int] | None = None, **fields: str) -> httpx.Response:
    files = [("files", ("page.pdf", data))]
    answer = httpx.post(f"{url}/v1/rerank/files", data={"query": "x", **fields}, files=files, timeout=120)
    if answers is not None:
        answers.append(answer.status_code)
    return answer


def test_a_page_that_does_not_end_is_refused(bundle_path: Path, sample: bytes) -> None:
    with Server("--bundle", bundle_path, "--page-timeout", 0.5) as server:
        answer = post(server.url, endless_pdf())
        assert answer.status_code == 422
        assert answer.json()["error"] == {
            "message": "files[0], page 1: rendering it took more than 0.5 s (page_timeout)",
            "type": "invalid_document",
            "param": "files[0]",
            "code": 422,
            "index": 0,
        }
        assert post(server.url, sample).status_code == 200
        assert server.stop() == 0


def test_metrics_tell_what_page_workers_hold(bundle_path: Path, sample: bytes) -> None:
    with Server("--bundle", bundle_path) as server:
        assert post(server.url, sample, pages="1").status_code == 200
        assert server.metric("ziprerank_page_workers") >= 1
        assert server.metric("ziprerank_page_workers_resident_bytes") > 1 << 20
        assert server.stop() == 0


@pytest.mark.parametrize("hanging", [1, 3])
def test_other_requests_go_on_while_pages_hang(bundle_path: Path, sample: bytes, hanging: int) -> None:
    """Requests with a page that never ends hold neither the engine nor the last page worker, and SIGTERM ends them."""
    answers: list[int] = []
    with Server("--bundle", bundle_path, *FOREVER, "--page-workers", 2, "--drain", 1) as server:
        threads = [
            threading.Thread(target=post, args=(server.url, endless_pdf(), answers), daemon=True)
            for _ in range(hanging)
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: server.metric("ziprerank_requests_in_flight") == hanging)
        for _ in range(2):
            answer = post(server.url, sample)
            assert answer.status_code == 200
            assert len(answer.json()["results"]) == 18
        assert httpx.get(f"{server.url}/ready").json() == {"status": "ready"}
        assert answers == []  # they hang all the time
        assert server.stop() == 0
        for thread in threads:
            thread.join(60)
        assert answers == [503] * hanging


def test_a_client_that_goes_ends_its_page(bundle_path: Path, sample: bytes) -> None:
    with Server("--bundle", bundle_path, *FOREVER, "--page-workers", 1) as server:
        files = [("files", ("page.pdf", endless_pdf()))]
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/v1/rerank/files", data={"query": "x"}, files=files, timeout=2)
        wait_until(lambda: server.metric("ziprerank_requests_in_flight") == 0)
        assert post(server.url, sample).status_code == 200
        assert server.stop() == 0


def test_a_service_that_cannot_prepare_pages_is_not_ready(
    reranker: Reranker, sample: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TestClient(create_app(reranker)) as client:
        wait_until(lambda: client.get("/ready").status_code == 200)
        monkeypatch.setattr(sys, "executable", "/bin/false")
        monkeypatch.delitem(sys.modules, "multiprocessing.spawn", raising=False)
        close_workers()
        answer = client.get("/ready")
        assert answer.status_code == 503
        assert "a process that prepares pages did not start (status 1)" in answer.json()["status"]
        files = [("files", ("page.pdf", sample))]
        refused = client.post("/v1/rerank/files", data={"query": "x"}, files=files)
        assert refused.status_code == 503
        assert refused.json()["error"]["type"] == "unavailable"
        assert "/bin/false" not in refused.text
        monkeypatch.undo()
        assert client.get("/ready").status_code == 200
        assert client.post("/v1/rerank/files", data={"query": "x"}, files=files).status_code == 200
