"""Warnings and skipped pages over HTTP, in every shape of a request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cohere
import httpx
import pytest
from corpus.pdfs import LOST, five_pages
from server_process import Server

QUERY = "invoice total"
BAD = five_pages("/MediaBox [0 0 10 3000]")


def post(client: httpx.Client, path: str, documents: list[Any], **more: Any) -> dict[str, Any]:
    answer = client.post(path, json={"query": QUERY, "documents": documents, **more})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
def test_lost_text_is_told(client: httpx.Client, text: Callable[[bytes], str], images: list[bytes], path: str) -> None:
    documents = [text(images[0]), {"pdf": text(LOST["Cyrillic"])}, {"image": text(LOST["Greek"])}]
    body = post(client, path, documents, top_n=1)
    told = body["meta"]["warnings"]
    assert [line.partition(":")[0] for line in told] == ["documents[1].pdf p. 1", "documents[2].image p. 1"]
    assert all("text is missing" in line for line in told)
    body = post(client, path, documents)
    warned = {result["index"] for result in body["results"] if "warnings" in result}
    assert warned == {1, 2}
    assert "skipped" not in body["meta"]


def test_cohere_clients_see_warnings(server: Server, client: httpx.Client, text: Callable[[bytes], str]) -> None:
    del client
    official = cohere.ClientV2(api_key="none", base_url=server.url)
    answer = official.rerank(model="any", query=QUERY, documents=["data:application/pdf;base64," + text(LOST["Greek"])])
    assert answer.meta is not None
    assert answer.meta.warnings is not None
    assert "text is missing" in answer.meta.warnings[0]


def test_bad_documents_and_pages_are_skipped_on_demand(
    client: httpx.Client, text: Callable[[bytes], str], images: list[bytes], make_pdf: Callable[..., bytes]
) -> None:
    locked = {"pdf": text(make_pdf(1, password="secret"))}
    documents = [{"pdf": text(BAD)}, text(images[0]), {"pdf": text(b"%PDF-junk")}, {"image": "%%%"}, locked]
    refused = client.post("/v1/rerank", json={"query": QUERY, "documents": documents})
    assert refused.status_code == 422
    assert refused.json()["error"]["param"] == "documents[0].pdf"
    body = post(client, "/v1/rerank", documents, on_bad_page="skip")
    assert sorted((one["index"], one.get("page")) for one in body["results"]) == [
        *((0, page) for page in (1, 2, 4, 5)),
        (1, None),
    ]
    assert body["meta"]["pages"] == 5
    skipped = body["meta"]["skipped"]
    assert [(one["index"], one.get("page")) for one in skipped] == [(0, 3), (2, None), (3, None), (4, None)]
    assert "aspect ratio" in skipped[0]["reason"]
    assert skipped[3]["reason"] == "the PDF is encrypted: pass its password in the field password"


def test_forms_skip_too(client: httpx.Client) -> None:
    files = [("files", ("bad.pdf", BAD)), ("files", ("junk.pdf", b"%PDF-junk"))]
    assert client.post("/v1/rerank/files", data={"query": QUERY}, files=files).status_code == 422
    answer = client.post("/v1/rerank/files", data={"query": QUERY, "on_bad_page": "skip"}, files=files)
    assert answer.status_code == 200, answer.text
    assert [one["index"] for one in answer.json()["meta"]["skipped"]] == [0, 1]
    wrong = client.post("/v1/rerank/files", data={"query": QUERY, "on_bad_page": "drop"}, files=files)
    assert wrong.status_code == 422
    assert "on_bad_page" in wrong.json()["message"]


def test_nothing_but_bad_documents_is_an_error(client: httpx.Client, text: Callable[[bytes], str]) -> None:
    documents = [{"pdf": text(b"%PDF-junk")}] * 2
    answer = client.post("/v1/rerank", json={"query": QUERY, "documents": documents, "on_bad_page": "skip"})
    assert answer.status_code == 422
    assert "none of the 2 candidates can be ranked" in answer.json()["message"]
    assert answer.json()["error"]["index"] == 0


def test_texts_are_not_skipped(client: httpx.Client, text: Callable[[bytes], str], images: list[bytes]) -> None:
    documents = [text(images[0]), "words that are no page"]
    answer = client.post("/v1/rerank", json={"query": QUERY, "documents": documents, "on_bad_page": "skip"})
    assert answer.status_code == 422
    assert "set render_text" in answer.json()["message"]
