"""Attacks by documents that are kept: too many of them, those of others, names that are paths, ends at a bad moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from attackers import answered, connect, encode, noise, until
from fastapi.testclient import TestClient
from server_process import Server
from stepping_engine import SteppingEngine
from stored_documents import MIB, send
from waiting import wait_until
from ziprerank.reranker import Reranker
from ziprerank.serve.app import create_app
from ziprerank.serve.settings import Settings
from ziprerank.serve.stored import LEAST

UPLOADS = 1_000
PATHS = ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e", "/etc/passwd", "file:%2f%2f%2fetc%2fpasswd"]


@pytest.fixture(scope="module")
def small_store(bundle_path: Path) -> Iterator[Server]:
    """A server that keeps 2 MiB of documents."""
    with Server("--bundle", bundle_path, "--max-stored-mib", 2) as server:
        yield server
        assert server.stop() == 0


def test_a_store_that_is_filled_takes_no_more_than_it_may(small_store: Server) -> None:
    picture = noise(300, 300)  # 270,000 bytes
    ids = []
    with httpx.Client(base_url=small_store.url, timeout=60) as client:
        for number in range(30):
            answer = send(client, picture + bytes([number]))
            assert answer.status_code == 201
            ids.append(answer.json()["document_id"])
            assert small_store.metric("ziprerank_stored_bytes") <= 2 * MIB
        there = [client.get(f"/v1/documents/{one}").status_code for one in ids]
        assert there == [404] * 23 + [200] * 7
        refused = send(client, noise(900, 900))
        assert refused.status_code == 413
        assert "at most 2,097,152 are kept" in refused.json()["message"]
        assert client.get(f"/v1/documents/{ids[-1]}").status_code == 200


def test_a_thousand_uploads(small_store: Server, picture: str) -> None:
    small = noise(8, 8)
    files, memory = small_store.files(), small_store.memory()
    with httpx.Client(base_url=small_store.url, timeout=60) as client:
        for number in range(UPLOADS):
            answer = send(client, small + number.to_bytes(4, "big"))
            assert answer.status_code == 201
    assert small_store.metric("ziprerank_stored_documents") == 2 * MIB / LEAST
    assert small_store.files() <= files + 20
    assert small_store.memory() < memory + (64 << 20)
    body = {"query": "x", "documents": [picture]}
    assert httpx.post(f"{small_store.url}/v1/rerank", json=body, timeout=60).status_code == 200


def test_a_document_that_is_named_many_times_is_counted_as_often(
    server: Server, make_pdf: Callable[..., bytes]
) -> None:
    """Otherwise each of 500 names of a file of 2 MB would take its memory."""
    sent = httpx.post(f"{server.url}/v1/documents", files={"file": make_pdf(1, padding=2_000_000)}, timeout=60)
    documents = [{"document_id": sent.json()["document_id"]}] * 400
    answer = httpx.post(f"{server.url}/v1/rerank", json={"query": "x", "documents": documents}, timeout=60)
    assert answer.status_code == 413
    assert server.most_memory() < 900 << 20
    until(server, "ziprerank_held_bytes", 0)
    few = {"query": "x", "documents": documents[:2]}
    assert httpx.post(f"{server.url}/v1/rerank", json=few, timeout=60).status_code == 200


@pytest.mark.parametrize("name", [*PATHS, "%00", "doc_" + "0" * 40, "x" * 8_000])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_names_that_are_paths_open_nothing(server: Server, method: str, name: str) -> None:
    url = f"{server.url}/v1/documents/"
    request = httpx.Request(method, url)
    request.url = httpx.URL(url).copy_with(raw_path=f"/v1/documents/{name}".encode())  # as it is, without ".." resolved
    with httpx.Client(timeout=60) as client:
        answer = client.send(request)
    assert answer.status_code == 404
    assert "root:" not in answer.text
    assert len(answer.content) < 10_000


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "\0", "x" * 1_000_000])
def test_names_in_requests_are_names_only(server: Server, name: str) -> None:
    body = {"query": "x", "documents": [{"document_id": name}]}
    answer = httpx.post(f"{server.url}/v1/rerank", json=body, timeout=60)
    assert answer.status_code == (422 if len(name) > 100 else 404)
    assert answer.json()["error"]["param"] == "documents[0].document_id"
    assert len(answer.content) < 10_000
    files = {"document_id": (None, name)}
    answer = httpx.post(f"{server.url}/v1/rerank/files", data={"query": "x"}, files=files, timeout=60)
    assert answer.status_code == (422 if len(name) > 100 else 404)


def test_an_upload_that_is_cut_off_leaves_nothing(server: Server) -> None:
    before = server.metric("ziprerank_stored_documents")
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + noise(100, 100)
    head = "POST /v1/documents HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    left = server.metric("ziprerank_rejected_total", reason="client left")
    connection = connect(server, head.encode() + b"Content-Length: 99999\r\n\r\n" + form)
    until(server, "ziprerank_held_bytes", len(form))
    connection.close()
    until(server, "ziprerank_rejected_total", left + 1, reason="client left")
    until(server, "ziprerank_held_bytes", 0)
    whole = connect(server, head.encode() + f"Content-Length: {len(form)}\r\n\r\n".encode() + form)  # it has no end
    assert b"file: Field required" in answered(whole)
    whole.close()
    assert server.metric("ziprerank_stored_documents") == before


@pytest.mark.parametrize("how", ["deleted", "expired", "given way"])
def test_a_ranking_goes_on_with_a_document_that_goes_meanwhile(
    bundle_path: Path, make_pdf: Callable[..., bytes], how: str
) -> None:
    reranker = Reranker.from_bundle(bundle_path, check="size")
    engine = SteppingEngine(reranker.engine)
    app = create_app(Reranker(reranker.bundle, engine), Settings(max_stored_bytes=MIB))
    documents = app.state.service.documents
    with TestClient(app) as client:
        wait_until(lambda: app.state.service.ready)
        pdf = make_pdf(30)
        told = send(client, pdf).json()
        engine.steps, engine.halt = 0, 3
        answers: list[httpx.Response] = []
        fields = {"query": "page 7", "first_stage": "none"}
        ask = {"document_id": (None, told["document_id"])}
        ranking = threading.Thread(
            target=lambda: answers.append(client.post("/v1/rerank/files", data=fields, files=ask))
        )
        ranking.start()
        assert engine.reached.wait(60)
        left = 0
        if how == "deleted":
            assert client.delete(f"/v1/documents/{told['document_id']}").status_code == 204
        elif how == "expired":
            now = documents._clock()
            documents._clock = lambda: now + 86_400
        else:
            other = make_pdf(1, padding=MIB - 10_000)
            assert send(client, other).status_code == 201
            left = len(other)
        assert client.get(f"/v1/documents/{told['document_id']}").status_code == 404
        engine.go.set()
        ranking.join(60)
        assert answers[0].status_code == 200, answers[0].text
        wanted = client.post("/v1/rerank/files", data=fields, files={"files": pdf})
        assert answers[0].json()["results"] == wanted.json()["results"]
        assert len({result["relevance_score"] for result in answers[0].json()["results"]}) > 2
        assert app.state.service.admission.held == 0
        assert documents.held == left


def test_a_busy_key_does_not_take_what_another_one_keeps(bundle_path: Path) -> None:
    options = ["--bundle", bundle_path, "--max-stored-mib", 4, "--max-stored-mib-per-key", 2]
    with Server(*options, variables={"ZIPRERANK_API_KEY": "quiet busy"}) as server:

        def upload(key: str, data: bytes) -> str:
            headers = {"X-API-Key": key}
            answer = httpx.post(f"{server.url}/v1/documents", files={"file": data}, headers=headers, timeout=60)
            assert answer.status_code in (200, 201)
            return str(answer.json()["document_id"])

        mine = upload("quiet", noise(100, 100))
        theirs = [upload("busy", noise(300, 300) + bytes([number])) for number in range(20)]

        def status(key: str, one: str) -> int:
            return httpx.get(f"{server.url}/v1/documents/{one}", headers={"X-API-Key": key}, timeout=60).status_code

        assert status("quiet", mine) == 200
        assert [status("busy", one) for one in theirs].count(200) == 7
        assert status("busy", mine) == status("quiet", theirs[-1]) == 404
        assert upload("busy", noise(100, 100)) != mine  # the same content is another document
        body = {"query": "x", "documents": [encode(noise(20, 20)), {"document_id": mine}]}
        ask = httpx.post(f"{server.url}/v1/rerank", json=body, headers={"X-API-Key": "busy"}, timeout=60)
        assert ask.status_code == 404
        assert server.stop() == 0
