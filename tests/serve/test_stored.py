"""Documents that are sent once: what names them, who finds them, when they go, and the rankings that read them."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from pdf_files import words_pdf
from server_process import Server
from stored_documents import MIB, send
from waiting import wait_until
from ziprerank.reranker import Reranker
from ziprerank.serve import stored
from ziprerank.serve.app import create_app
from ziprerank.serve.failures import Refused
from ziprerank.serve.settings import Settings
from ziprerank.serve.stored import LEAST, DocumentStore

QUERY = "dividend shareholders board directors"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def run() -> Callable[[Callable[[], Any]], Any]:
    """Calls a function within an event loop, where stores have their timers."""

    def call(work: Callable[[], Any]) -> Any:
        async def inside() -> Any:
            return work()

        return asyncio.run(inside())

    return call


def store(clock: Clock | None = None, **settings: Any) -> tuple[DocumentStore, list[str]]:
    made = DocumentStore(Settings(**settings), clock or Clock())
    removed: list[str] = []
    made.removed = removed.append
    return made, removed


def there(documents: DocumentStore, sender: str, identity: str) -> bool:
    try:
        documents.find(sender, identity)
    except Refused:
        return False
    return True


def test_the_least_recently_used_goes_first(run: Callable[[Callable[[], Any]], Any]) -> None:
    def work() -> None:
        documents, removed = store(max_stored_bytes=3 * MIB)
        ids = [documents.add("", bytes([number]) * MIB, 1)[0].id for number in range(3)]
        documents.find("", ids[0], use=True)
        documents.find("", ids[1])  # to be asked about is no use
        documents.add("", b"x" * MIB, 1)
        assert [there(documents, "", one) for one in ids] == [True, False, True]
        documents.add("", b"y" * (2 * MIB), 1)
        assert [there(documents, "", one) for one in ids] == [False, False, False]
        assert removed == ["room"] * 3
        assert (len(documents), documents.held) == (2, 3 * MIB)

    run(work)


def test_a_key_has_a_share_of_the_room(run: Callable[[Callable[[], Any]], Any]) -> None:
    def work() -> None:
        documents, _ = store(api_keys=("a", "b"), max_stored_bytes=4 * MIB, max_stored_bytes_per_key=2 * MIB)
        other = documents.add("b", b"b" * MIB, 1)[0].id
        ids = [documents.add("a", bytes([number]) * MIB, 1)[0].id for number in range(9)]
        assert [there(documents, "a", one) for one in ids] == [False] * 7 + [True] * 2
        assert there(documents, "b", other)  # though it was sent before all of them
        with pytest.raises(Refused, match=r"3,145,728 bytes, at most 2,097,152") as refused:
            documents.add("a", b"z" * (3 * MIB), 1)
        assert refused.value.status_code == 413
        assert there(documents, "a", ids[-1])  # nothing gives way to what cannot be kept

    run(work)


def test_room_is_made_without_a_look_at_other_keys(
    run: Callable[[Callable[[], Any]], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Counter[str]()

    class Counting(OrderedDict[Any, Any]):
        def _count(self, of: Iterable[Any]) -> Iterator[Any]:
            for one in of:
                steps["taken"] += 1
                yield one

        def __iter__(self) -> Iterator[Any]:
            return self._count(super().__iter__())

        def items(self) -> Any:
            return self._count(super().items())

        def values(self) -> Any:
            return self._count(super().values())

    def work() -> None:
        many = 512
        documents, removed = store(api_keys=("a", "b"), max_stored_bytes_per_key=many * LEAST)
        for sender in ("a", "b"):
            for number in range(many):
                documents.add(sender, number.to_bytes(4, "big"), 1)
        first = documents.add("b", (0).to_bytes(4, "big"), 1)[0]  # now its last to go
        steps.clear()
        documents.add("b", bytes((many - 1) * LEAST), 1)
        assert removed == ["room"] * (many - 1)
        assert there(documents, "b", first.id)
        assert many - 1 <= steps["taken"] < 3 * many

    monkeypatch.setattr(stored, "OrderedDict", Counting)
    run(work)


@pytest.mark.parametrize(
    "limits",
    [
        {"max_stored_bytes": LEAST - 1},
        {"api_keys": ("a",), "max_stored_bytes_per_key": 1},
        {"api_keys": ("a",), "max_stored_bytes_per_key": LEAST - 1},
    ],
)
def test_what_counts_for_more_than_it_has_is_refused(
    run: Callable[[Callable[[], Any]], Any], limits: dict[str, Any]
) -> None:
    def work() -> None:
        documents, removed = store(**limits)
        with pytest.raises(Refused, match=r"counts for 4,096 bytes, at most [\d,]+ are kept") as refused:
            documents.add("a", b"x", 1)
        assert (refused.value.status_code, len(documents), documents.held, removed) == (413, 0, 0, [])

    run(work)


def test_small_documents_are_bounded_in_number(run: Callable[[Callable[[], Any]], Any]) -> None:
    def work() -> None:
        documents, _ = store(max_stored_bytes=MIB)
        for number in range(1000):
            documents.add("", number.to_bytes(4, "big"), 1)
        assert len(documents) == MIB // LEAST
        assert documents.held == MIB

    run(work)


def test_documents_expire_after_their_last_use(
    run: Callable[[Callable[[], Any]], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> None:
        clock = Clock()
        monkeypatch.setattr(stored, "time", lambda: 1_000_000 + clock.now)
        documents, removed = store(clock, keep_stored=100)
        first, second = (documents.add("", data, 1)[0] for data in (b"first", b"second"))
        assert documents.expires_at(first) == 1_001_100
        clock.now += 60
        assert documents.expires_at(first) == 1_001_100
        documents.find("", first.id, use=True)
        assert documents.expires_at(first) == 1_001_160
        clock.now += 60
        assert (there(documents, "", first.id), there(documents, "", second.id)) == (True, False)
        assert not documents.add("", b"first", 1)[1]  # as if it had just been sent
        clock.now += 99
        assert there(documents, "", first.id)
        clock.now += 1
        assert not there(documents, "", first.id)
        assert removed == ["expired", "expired"]
        assert documents.held == 0

    run(work)


def test_documents_expire_by_themselves() -> None:
    async def work() -> None:
        documents = DocumentStore(Settings(keep_stored=0.05))
        documents.add("", b"x", 1)
        assert len(documents) == 1
        while len(documents):
            await asyncio.sleep(0.01)
        assert documents.held == 0

    asyncio.run(asyncio.wait_for(work(), 60))


def test_ids_are_of_the_content_the_key_and_the_process(run: Callable[[Callable[[], Any]], Any]) -> None:
    def work() -> None:
        documents, _ = store()
        first = documents.add("a", b"content", 1)[0].id
        assert documents.add("a", b"content", 1)[0].id == first
        others = [documents.add("b", b"content", 1)[0].id, documents.add("a", b"content ", 1)[0].id]
        others += [documents.add("", b"acontent", 1)[0].id, store()[0].add("a", b"content", 1)[0].id]
        assert len({first, *others}) == 5
        assert first.startswith("doc_")
        assert len(first) == 4 + 40  # 160 bits
        assert not there(documents, "b", first)

    run(work)


def test_a_document_is_sent_once(server: Server, client: httpx.Client, sample: bytes) -> None:
    sample += b"% that no other test has sent"
    names = ("ziprerank_stored_documents", "ziprerank_stored_bytes")
    before = [server.metric(name) for name in names]
    deleted = server.metric("ziprerank_stored_removed_total", reason="deleted")
    made = send(client, sample)
    assert made.status_code == 201
    told = made.json()
    assert (told["pages"], told["bytes"]) == (18, len(sample))
    assert [server.metric(name) for name in names] == [before[0] + 1, before[1] + len(sample)]
    again = send(client, sample)
    assert (again.status_code, again.json()["document_id"]) == (200, told["document_id"])
    path = f"/v1/documents/{told['document_id']}"
    assert client.get(path).json()["pages"] == 18
    assert client.head(path).status_code == 200
    assert [server.metric(name) for name in names] == [before[0] + 1, before[1] + len(sample)]
    assert client.delete(path).status_code == 204
    assert [server.metric(name) for name in names] == before
    last = {"X-Request-ID": "of-what-is-gone"}
    for gone in (client.get(path), client.delete(path, headers=last)):
        assert gone.status_code == 404
        assert gone.json()["error"]["type"] == "document_not_found"
    assert client.get("/v1/documents").status_code == 405  # there is no list
    assert server.metric("ziprerank_stored_removed_total", reason="deleted") == deleted + 1
    wait_until(lambda: any(line.get("request_id") == last["X-Request-ID"] for line in server.log))
    assert told["document_id"] not in str(server.log)


def test_rankings_take_ids_in_place_of_files(
    client: httpx.Client, sample: bytes, images: list[bytes], text: Callable[[bytes], str]
) -> None:
    identity = send(client, sample).json()["document_id"]
    fields = {"query": QUERY, "include": ["logit"]}
    files = [("files", ("p.png", images[0])), ("files", ("a.pdf", sample))]
    wanted = client.post("/v1/rerank/files", data=fields, files=files).json()["results"]
    assert len({result["logit"] for result in wanted}) > 10  # they can tell which pages were read
    mixed = client.post("/v1/rerank/files", data={**fields, "document_id": identity}, files=files[:1])
    assert mixed.json()["results"] == wanted
    documents = [text(images[0]), {"document_id": identity}]
    body = {"query": QUERY, "documents": documents, "include": ["logit"]}
    assert client.post("/v1/rerank", json=body).json()["results"] == wanted
    alone = [("document_id", (None, identity))]
    some = client.post("/v1/rerank/files", data={"query": QUERY, "pages": "2-5"}, files=alone).json()["results"]
    assert sorted(result["page"] for result in some) == [2, 3, 4, 5]
    sent = client.post("/v1/rerank/files", data={"query": QUERY, "pages": "2-5"}, files=files[1:]).json()["results"]
    assert [result["page"] for result in some] == [result["page"] for result in sent]
    client.delete(f"/v1/documents/{identity}")


def test_a_ranking_keeps_its_documents_for_longer(
    reranker: Reranker, sample: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(stored, "time", lambda: 1_000_000 + clock.now)
    with TestClient(create_app(reranker, Settings(keep_stored=100))) as client:
        client.app.state.service.documents._clock = clock  # type: ignore[attr-defined]
        told = send(client, sample).json()
        path = f"/v1/documents/{told['document_id']}"
        clock.now += 60
        assert told["expires_at"] == client.get(path).json()["expires_at"] == 1_001_100
        body = {"query": QUERY, "documents": [{"document_id": told["document_id"], "pages": "1"}]}
        assert client.post("/v1/rerank", json=body).status_code == 200
        clock.now += 60
        assert client.get(path).json()["expires_at"] == 1_001_160


@pytest.mark.parametrize("path", ["/v1/rerank", "/tei/rerank", "/v1/reranking", "/v1/ranking", "/voyage/v1/rerank"])
def test_every_dialect_takes_ids(client: httpx.Client, sample: bytes, path: str) -> None:
    identity = send(client, sample).json()["document_id"]
    names = {"/tei/rerank": "texts", "/v1/reranking": "input", "/v1/ranking": "passages"}
    documents = [{"document_id": identity, "pages": "2-3"}]
    answer = client.post(path, json={"query": QUERY, names.get(path, "documents"): documents})
    assert answer.status_code == 200, answer.text
    entries = answer.json()
    if isinstance(entries, dict):
        entries = next(entries[key] for key in ("results", "data", "rankings") if key in entries)
    assert sorted(entry["page"] for entry in entries) == [2, 3]


def test_texts_with_an_id_of_the_client_s_own_stay_texts(client: httpx.Client) -> None:
    """Beside ``text``; and where ``rank_fields`` says what the text is, beside whatever no kept document has."""
    of_v1 = {"rank_fields": ["title"]}
    for document, fields in (
        ({"text": "words", "document_id": "mine"}, {}),
        ({"title": "t", "document_id": "mine"}, of_v1),
        ({"title": "t", "document_id": "mine", "pages": "1"}, of_v1),
        ({"pages": "some", "password": "words"}, {"rank_fields": ["pages", "password"]}),
    ):
        answer = client.post(
            "/v1/rerank", json={"query": QUERY, "documents": [document], "render_text": True, **fields}
        )
        assert answer.status_code == 200, answer.text
    for document in ({"document_id": "mine", "title": None}, {"document_id": "mine", "pages": "1", "password": "x"}):
        answer = client.post("/v1/rerank", json={"query": QUERY, "documents": [document], **of_v1})
        assert answer.json()["error"]["type"] == "document_not_found"


def test_an_id_that_is_not_there_is_named(
    client: httpx.Client, images: list[bytes], text: Callable[[bytes], str]
) -> None:
    """Also where bad documents are skipped: to send it again is the way out."""
    for stream in (False, True):
        body = {"query": QUERY, "documents": [text(images[0]), {"document_id": "doc_0"}], "on_bad_page": "skip"}
        answer = client.post("/v1/rerank", json={**body, "stream": stream})
        assert answer.status_code == 404
        error = answer.json()["error"]
        assert (error["type"], error["param"], error["index"]) == ("document_not_found", "documents[1].document_id", 1)
        assert "send the file again" in error["message"]
    files = [("files", ("p.png", images[0])), ("document_id", (None, "doc_1"))]
    answer = client.post("/v1/rerank/files", data={"query": QUERY}, files=files)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["index"]) == (404, "document_id[0]", 1)


def test_encrypted_documents_need_their_password_each_time(client: httpx.Client, encrypted: bytes) -> None:
    refused = send(client, encrypted)
    assert refused.status_code == 422
    assert "password" in refused.json()["message"]
    identity = send(client, encrypted, data={"password": "secret"}).json()["document_id"]
    body = {"query": QUERY, "documents": [{"document_id": identity}]}
    assert client.post("/v1/rerank", json=body).status_code == 422
    body["documents"][0]["password"] = "secret"  # type: ignore[index]
    assert client.post("/v1/rerank", json=body).status_code == 200


def test_more_pages_than_a_request_may_have_can_be_kept(client: httpx.Client, make_pdf: Callable[..., bytes]) -> None:
    """Its rankings name some of them; this server takes 200 of a request."""
    told = send(client, make_pdf(201)).json()
    assert told["pages"] == 201
    whole = {"query": QUERY, "documents": [{"document_id": told["document_id"]}]}
    refused = client.post("/v1/rerank", json=whole)
    assert (refused.status_code, refused.json()["error"]["param"]) == (413, "documents[0].document_id")
    some = {"query": QUERY, "documents": [{"document_id": told["document_id"], "pages": "200-"}]}
    assert client.post("/v1/rerank", json=some).status_code == 200


def test_what_cannot_be_opened_is_not_kept(server: Server, client: httpx.Client) -> None:
    before = server.metric("ziprerank_stored_documents")
    for data in (b"%PDF-junk", b"words", b""):
        answer = send(client, data)
        assert answer.status_code == 422
        assert answer.json()["error"]["param"] == "file"
    assert server.metric("ziprerank_stored_documents") == before


def test_too_many_are_told_by_the_list_of_the_first_that_is_too_many(client: httpx.Client, images: list[bytes]) -> None:
    files = [("files", ("p.png", images[0])), *[("document_id", (None, "doc_0"))] * 300]
    answer = client.post("/v1/rerank/files", data={"query": QUERY}, files=files)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["index"]) == (413, "document_id", 200)
    assert error["message"] == "301 documents, at most 200 in one request: split"


def test_keys_do_not_see_each_other_s_documents(reranker: Reranker, sample: bytes) -> None:
    """Whether or not page features are shared between them."""
    with TestClient(create_app(reranker, Settings(api_keys=("first", "second")))) as client:
        first, second = ({"X-API-Key": key} for key in ("first", "second"))
        assert send(client, sample).status_code == 401
        mine, theirs = (send(client, sample, headers=key).json()["document_id"] for key in (first, second))
        assert mine != theirs
        assert client.get(f"/v1/documents/{mine}").status_code == 401
        assert client.get(f"/v1/documents/{mine}", headers={"Authorization": "Bearer first"}).status_code == 200
        never = client.get("/v1/documents/doc_0", headers=second)
        for answer in (
            client.get(f"/v1/documents/{mine}", headers=second),
            client.delete(f"/v1/documents/{mine}", headers=second),
        ):
            assert (answer.status_code, answer.json()) == (404, never.json())  # as one that never was
        body = {"query": QUERY, "documents": [{"document_id": mine}]}
        assert client.post("/v1/rerank", json=body, headers=second).status_code == 404
        assert client.post("/v1/rerank", json=body, headers=first).status_code == 200


def test_a_server_may_keep_none(reranker: Reranker, sample: bytes) -> None:
    with TestClient(create_app(reranker, Settings(max_stored_bytes=0))) as client:
        answer = send(client, sample)
        body = {"query": QUERY, "documents": ["words", {"document_id": "doc_0"}], "on_bad_page": "skip"}
        ranked = client.post("/v1/rerank", json=body)
        fields = {"query": (None, QUERY), "document_id": (None, "doc_0")}
        form = client.post("/v1/rerank/files", files=fields)
        one = "/v1/documents/doc_0"
        for refused in (answer, ranked, form, client.get(one), client.delete(one)):
            error = refused.json()["error"]
            assert (refused.status_code, error["type"]) == (404, "documents_off")
            assert error["message"].endswith("this server keeps no documents: send the file with each request")
        assert [ranked.json()["error"][name] for name in ("param", "index")] == ["documents[1].document_id", 1]


def test_the_api_describes_them(reranker: Reranker) -> None:
    document = create_app(reranker, Settings(api_keys=("k",))).openapi()
    paths, schemas = document["paths"], document["components"]["schemas"]
    assert {"200", "201", "401", "404", "413", "422", "429", "503"} <= set(paths["/v1/documents"]["post"]["responses"])
    one = paths["/v1/documents/{document_id}"]
    assert set(one) == {"get", "delete"}
    assert all("404" in operation["responses"] and operation["security"] for operation in one.values())
    form = schemas["Body_keep_v1_documents_post"]["properties"]
    assert form["file"]["format"] == "binary"
    assert set(schemas["KeptDocument"]["required"]) == {"document_id", "pages", "max_pages", "bytes", "expires_at"}
    assert schemas["StoredDocument"]["required"] == ["document_id"]
    for path in ("/v1/rerank", "/v1/rerank/files", "/tei/rerank"):
        assert set(paths[path]["post"]["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
        assert "404" in paths[path]["post"]["responses"]
    assert "stream" in schemas["RerankRequest"]["properties"]
    assert {"stream", "document_id"} <= set(schemas["Body_rerank_files_v1_rerank_files_post"]["properties"])
    assert schemas["Body_rerank_files_v1_rerank_files_post"]["required"] == ["query"]


def test_nothing_is_left_of_a_server_that_was_killed(bundle_path: Path, tmp_path: Path, sample: bytes) -> None:
    """Documents are in memory only, so the folder for temporary files stays empty."""
    with Server("--bundle", bundle_path, variables={"TMPDIR": str(tmp_path)}) as server:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            identity = send(client, sample).json()["document_id"]
            body = {"query": QUERY, "documents": [{"document_id": identity, "pages": "1-2"}]}
            assert client.post("/v1/rerank", json=body).status_code == 200
        assert [file for file in tmp_path.rglob("*") if file.is_file()] == []
        server.signal(signal.SIGKILL)
        server.wait()
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_a_document_of_more_pages_than_a_ranking_takes(client: httpx.Client, make_pdf: Callable[..., bytes]) -> None:
    """Its sender is told, and ranks some of its pages."""
    told = send(client, make_pdf(201)).json()
    assert (told["pages"], told["max_pages"]) == (201, 200)
    whole = {"query": QUERY, "documents": [{"document_id": told["document_id"]}]}
    answer = client.post("/v1/rerank", json=whole)
    assert answer.status_code == 413
    assert "201 pages up to here, at most 200 in one request" in answer.json()["message"]
    some = {**whole, "documents": [{"document_id": told["document_id"], "pages": "2-201"}], "top_n": 3}
    assert client.post("/v1/rerank", json=some).json()["meta"]["pages"] == 200
    client.delete(f"/v1/documents/{told['document_id']}")


def test_a_manual_of_more_than_two_thousand_pages(reranker: Reranker) -> None:
    """With the settings that a server has by default it is kept and ranked, by the pages that text picks."""
    manual = words_pdf((f"{'dividend' if page == 2_003 else 'harbour'} {page}" for page in range(1, 2_101)), (90, 90))
    with TestClient(create_app(reranker)) as client:
        told = send(client, manual).json()
        assert told["pages"] == 2_100 < told["max_pages"]
        body = {"query": "dividend", "documents": [{"document_id": told["document_id"]}], "include": ["passes"]}
        answer = client.post("/v1/rerank", json=body)
        assert answer.status_code == 200, answer.text
        read = [result["page"] for result in answer.json()["results"] if result["passes"]]
        assert len(read) == 20
        assert 2_003 in read
