"""What no ranking can do is refused with its status and its field, before the request waits for the engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from pdf_files import drawn_pdf, words_pdf
from small_bundle import copy_without_relevance
from ziprerank.reranker import Reranker
from ziprerank.serve.app import create_app

WORDS = ("soup", "engine", "harbour", "dividend", "violin", "glacier")
PAGES = 24  # more than a pass takes


@pytest.fixture(scope="module")
def older(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service whose bundle has no relevance."""
    bundle = copy_without_relevance(bundle_path, tmp_path_factory.mktemp("older") / "bundle")
    with Reranker.from_bundle(bundle, check="size") as reranker, TestClient(create_app(reranker)) as client:
        yield client


def refused(client: httpx.Client | TestClient, pdf: bytes, stream: bool, **fields: str) -> tuple[str, str]:
    """Returns the field at fault and the message of a 422."""
    data = {**fields, "stream": str(stream).lower()}
    answer = client.post("/v1/rerank/files", data=data, files={"files": ("a.pdf", pdf)})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    return error["param"], error["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_relevance_that_the_bundle_does_not_have(older: TestClient, sample: bytes, stream: bool) -> None:
    param, message = refused(older, sample, stream, query="dividend", first_stage="relevance")
    assert param == "first_stage"
    assert "no relate.onnx" in message
    files = {"files": ("a.pdf", sample)}
    assert older.post("/v1/rerank/files", data={"query": "dividend"}, files=files).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("what", ["a query without a word of theirs", "pages without text", "candidates"])
def test_one_pass_over_more_pages_than_it_takes(client: httpx.Client, what: str, stream: bool) -> None:
    """Also where only their texts say that no page is left out."""
    pdf = words_pdf(f"{WORDS[page % 6]} {page}" for page in range(PAGES))
    fields, pages = {"query": "dividend"}, PAGES
    if what == "pages without text":
        pdf = drawn_pdf([lambda canvas: canvas.rect(20, 20, 90, 90, fill=1)] * PAGES)
    elif what == "candidates":
        fields, pages = {"query": "dividend", "candidates": "22", "first_stage": "text"}, 22
    else:
        fields = {"query": "zebra"}
    param, message = refused(client, pdf, stream, window="off", **fields)
    assert param == "window"
    assert message.startswith(f"{pages} pages, at most 20 in one pass")


def test_one_pass_over_what_a_first_stage_leaves(client: httpx.Client) -> None:
    pdf = words_pdf(f"{WORDS[page % 6]} {page}" for page in range(PAGES))
    for stage in ("auto", "relevance"):
        fields = {"query": "dividend", "window": "off", "first_stage": stage, "stream": "true"}
        answer = client.post("/v1/rerank/files", data=fields, files={"files": ("a.pdf", pdf)})
        result = json.loads(answer.text.rpartition("event: result\ndata: ")[2])
        assert result["meta"]["windows"] == 1
        assert len(result["results"]) == PAGES


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"window": "1"}, "window"),
        ({"stride": "20"}, "stride"),
        ({"window": "4", "stride": "4"}, "stride"),
        ({"strategy": "partition", "stride": "5"}, "stride"),
    ],
)
def test_the_option_at_fault_is_named(client: httpx.Client, fields: dict[str, str], param: str) -> None:
    pdf = words_pdf(f"{WORDS[page % 6]} {page}" for page in range(PAGES))
    assert refused(client, pdf, False, query="dividend", first_stage="none", **fields)[0] == param
