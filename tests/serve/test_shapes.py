"""What the dialects of other APIs have in common: values, ignored fields, documents that come back, errors."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from server_process import Server
from starlette.responses import PlainTextResponse
from ziprerank.serve.dialects import answers
from ziprerank.serve.dialects.reading import dialect_of, read_body
from ziprerank.serve.dialects.table import DIALECTS, IGNORED
from ziprerank.serve.failures import Refused
from ziprerank.serve.models import HeadAsGet
from ziprerank.serve.schemas import RerankRequest

QUERY = "dividend shareholders board directors"


@pytest.fixture(scope="module")
def words(bundle_path: Path) -> Iterator[httpx.Client]:
    """A client of a server that draws texts."""
    with Server("--bundle", bundle_path, "--render-text") as server:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            yield client
        assert server.stop() == 0


@pytest.fixture
def page(images: list[bytes]) -> str:
    return "data:image/png;base64," + base64.b64encode(images[0]).decode()


def ask(client: httpx.Client, path: str, **body: Any) -> Any:
    answer = client.post(path, json={"query": QUERY, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def read(path: str, **body: Any) -> tuple[dict[str, Any], list[str]]:
    """Our request and the notes, without a server."""
    request, asked = read_body(dialect_of(path, body), body)
    return request, asked.notes


def test_every_ignored_field_is_ignored_and_said() -> None:
    for name, why in IGNORED.items():
        for path in ("/v1/rerank", "/v1/ranking", "/score"):
            request, notes = read(path, query="x", documents=["a"], **{name: "something"})
            assert name not in request
            assert notes == ([f"{name} is ignored: {why}"] if why else [])
            assert read(path, query="x", documents=["a"], **{name: None})[1] == []
    assert not IGNORED.keys() & RerankRequest.model_fields.keys()


def test_notes_are_warnings(words: httpx.Client) -> None:
    sent = {"documents": ["a", "b"], "max_tokens_per_doc": 512, "chat_template": "{{ x }}", "truncation_side": None}
    assert ask(words, "/v1/rerank", **sent)["meta"]["warnings"] == [
        "max_tokens_per_doc is ignored: pages are never cut, and a text ends where its page does",
        "chat_template is ignored: the model's prompt and its processor are fixed",
    ]
    for name in ("instruction", "instruct"):
        answer = words.post("/v1/rerank", json={"query": QUERY, "documents": ["a"], name: "Find."})
        assert answer.status_code == 422
        assert "the prompt of this bundle has no place for one" in answer.text
    assert "warnings" not in ask(words, "/v1/rerank", documents=["a"], truncate_prompt_tokens=-1, user="me")["meta"]
    answer = words.post(
        "/rerank", json={"query": QUERY, "texts": ["a", "word " * 3000], "truncation_direction": "Left"}
    )
    told = json.loads(answer.headers["x-warnings"])
    assert [line.partition(":")[0] for line in told] == ["truncation_direction is ignored", "texts[1]"]


@pytest.mark.parametrize("top", [2, 2.0, "2"])
@pytest.mark.parametrize("switch", [True, "true", "True"])
def test_values_as_clients_send_them(words: httpx.Client, top: Any, switch: Any) -> None:
    body = ask(words, "/v1/rerank", documents=["a", "b", "c"], top_n=top, return_documents=switch, model=None)
    assert [one["document"]["text"] for one in body["results"]] == ["abc"[one["index"]] for one in body["results"]]
    assert len(body["results"]) == 2


@pytest.mark.parametrize(
    ("path", "body", "param", "index"),
    [
        ("/v1/rerank", {"documents": ["a"], "top_n": "two"}, "top_n", None),
        ("/v1/rerank", {"documents": ["a"], "top_n": 2.5}, "top_n", None),
        ("/v1/rerank", {"documents": ["a"], "return_documents": "yes"}, "return_documents", None),
        ("/v1/rerank", {"documents": ["a"], "topn": 2}, "topn", None),
        ("/v1/rerank", {"documents": ["a"], "top_k": 2, "top_n": 2}, "top_n", None),
        ("/v1/rerank", {"documents": ["a"], "raw_scores": "often"}, "raw_scores", None),
        ("/rerank", {"texts": ["a", 3]}, "texts[1]", 1),
        ("/rerank", {"texts": ["a", " "]}, "texts[1]", 1),
        ("/rerank", {"texts": ["a", {"image": "%%%"}]}, "texts[1].image", 1),
        ("/v1/ranking", {"passages": [{"text": "a"}, {"image": "%%%"}]}, "passages[1].image", 1),
        ("/v1/ranking", {"passages": [{"text": "a"}], "top_k": -1}, "top_k", None),
        ("/v1/reranking", {"input": []}, "input", None),
        ("/score", {"text_2": ["a"], "queries": ["b"], "text_1": "c"}, "text_1", None),
        ("/rerank", {"sources": [{"type": "INLINE"}], "queries": [{"textQuery": {"text": "a"}}]}, "sources[0]", 0),
        ("/rerank", {"sources": [{}], "queries": []}, "queries", None),
        ("/v1/rerank", {"documents": [{"content": [{"type": "video_url"}]}]}, None, 0),
    ],
)
def test_errors_name_the_client_s_fields(
    words: httpx.Client, path: str, body: dict[str, Any], param: str | None, index: int | None
) -> None:
    if "queries" not in body:
        body = {"query": QUERY, **body}
    answer = words.post(path, json=body)
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert error.get("index") == index
    if param is not None:
        assert error["param"] == param
    (place,) = answer.json()["detail"]
    assert place["msg"] == error["message"] == answer.json()["message"]
    assert place["loc"][0] == "body"


def test_several_queries_are_refused_and_one_is_taken() -> None:
    assert read("/score", text_1=["x"], text_2=["a"])[0]["query"] == "x"
    with pytest.raises(Refused, match="2 queries, one at a time"):
        read("/score", text_1=["x", "y"], text_2=["a", "b"])


@pytest.mark.parametrize(
    "query",
    [
        {"text": QUERY},
        {"content": [{"type": "text", "text": QUERY}]},
        [{"type": "text", "text": QUERY[:9].strip()}, {"type": "text", "text": QUERY[9:]}],
    ],
)
def test_queries_in_parts(query: Any) -> None:
    assert read("/v1/rerank", query=query, documents=["a"])[0]["query"].split() == QUERY.split()


@pytest.mark.parametrize(
    "query",
    [
        {"image": "data:image/png;base64,AAAA"},
        {"content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
        [{"type": "text", "text": "like"}, {"type": "image_url", "image_url": {"url": "data:x"}}],
    ],
)
def test_an_image_is_no_query(words: httpx.Client, query: Any) -> None:
    answer = words.post("/v1/rerank", json={"query": query, "documents": ["a"]})
    assert answer.status_code == 422
    assert "a query of words is needed" in answer.json()["message"]
    assert answer.json()["error"]["param"] == "query"


def test_words_beside_an_image(client: httpx.Client, page: str) -> None:
    """They are not read, in any shape, and the answer says so; the page is ranked as it would be without."""
    parts = [{"type": "image_url", "image_url": {"url": page, "detail": "low"}}, {"type": "text", "text": "words"}]
    documents = [{"text": "words", "image": page}, {"content": parts}, {"url": page}]
    body = ask(client, "/v1/rerank", documents=documents, return_documents=True)
    told = "its text is not read: a page is ranked by its image"
    assert body["meta"]["warnings"] == [f"documents[0]: {told}", f"documents[1]: {told}"]
    returned = {one["index"]: one["document"] for one in body["results"]}
    assert returned == {0: documents[0], 1: {"multi_modal": parts}, 2: documents[2]}


def test_rank_fields() -> None:
    document = {"title": "Dividends", "body": "In May.", "id": 7, "note": None}
    chosen = {"documents": [document], "query": "x"}
    text = read("/v1/rerank", **chosen, rank_fields=["title", "body", "note"])[0]["documents"]
    assert text == [{"text": "title: Dividends\nbody: In May."}]
    assert read("/v1/rerank", **chosen, rank_fields=["body"])[0]["documents"] == [{"text": "In May."}]


def test_raw_scores_are_logits(words: httpx.Client) -> None:
    plain = ask(words, "/v1/rerank", documents=["a", "b"], include=["logit"])["results"]
    logits = {one["index"]: one["logit"] for one in plain}
    for more in ({"raw_scores": True}, {"use_activation": False}, {"softmax": False}):
        body = ask(words, "/rerank", documents=["a", "b"], **more)
        assert {one["index"]: one["relevance_score"] for one in body["results"]} == pytest.approx(logits, abs=1e-5)


def test_score_has_one_for_each_document(client: httpx.Client, make_pdf: Callable[..., bytes], page: str) -> None:
    pdf = base64.b64encode(make_pdf(3)).decode()
    sent = {"documents": [{"image": pdf}, page]}
    best: dict[int, float] = {}
    for one in ask(client, "/v1/rerank", **sent)["results"]:
        best[one["index"]] = max(best.get(one["index"], 0), one["relevance_score"])
    answer = client.post("/score", json={"queries": QUERY, "items": sent["documents"]}).json()
    assert [one["index"] for one in answer["data"]] == [0, 1]
    assert {one["index"]: one["score"] for one in answer["data"]} == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("path", sorted(set(DIALECTS) - {"/score", "/v1/score"}))
def test_pages_of_a_pdf_are_results_everywhere(client: httpx.Client, make_pdf: Callable[..., bytes], path: str) -> None:
    """Each page is a result with the index of its document and its number, in every dialect's shape."""
    document = "data:application/pdf;base64," + base64.b64encode(make_pdf(2)).decode()
    names = {name for dialect in DIALECTS[path] for name, ours in dialect.names.items() if ours == "documents"}
    field = names.pop() if len(names) == 1 and len(DIALECTS[path]) == 1 else "documents"
    answer = ask(client, path.replace("{model:path}", "a/b").replace("{model}", "a"), **{field: [document]})
    entries = (
        answer if isinstance(answer, list) else next(value for value in answer.values() if isinstance(value, list))
    )
    assert {(one["index"], one["page"]) for one in entries} == {(0, 1), (0, 2)}


def test_models(client: httpx.Client) -> None:
    listed = client.get("/v1/models").raise_for_status().json()
    (model,) = listed["data"]
    assert (listed["object"], model["object"], model["model_type"]) == ("list", "model", "rerank")
    assert client.get(f"/v1/models/{model['id']}").json() == model
    missing = client.get("/v1/models/other/one")
    assert missing.status_code == 404
    assert model["id"] in missing.json()["message"]


def test_models_need_the_key(bundle_path: Path) -> None:
    with Server("--bundle", bundle_path, variables={"ZIPRERANK_API_KEY": "secret"}) as server:
        for path in ("/v1/models", "/v1/models/any"):
            assert httpx.get(server.url + path).status_code == 401
            assert httpx.get(server.url + path, headers={"Authorization": "Bearer secret"}).status_code != 401
        assert httpx.post(f"{server.url}/v1/ranking", json={}).status_code == 401
        assert server.stop() == 0


@pytest.mark.parametrize(
    "path", ["/", "/health", "/ready", "/info", "/metrics", "/v1/models", "/docs", "/openapi.json"]
)
def test_head_is_get_without_a_body(client: httpx.Client, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert client.head("/v1/rerank").status_code == 405


def test_the_body_of_head_is_left_out_whatever_serves() -> None:
    """Servers such as uvicorn leave it out themselves; those that do not must get none."""
    sent: list[Any] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        assert scope["method"] == "GET"
        await PlainTextResponse("words")(scope, _receive, send)

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(HeadAsGet(app)({"type": "http", "method": "HEAD"}, receive, send))
    assert dict(sent[0]["headers"])[b"content-length"] == b"5"
    assert [message["body"] for message in sent[1:]] == [b""]


def test_only_bedrock_may_leave_out_the_type(words: httpx.Client) -> None:
    body = json.dumps({"query": QUERY, "documents": ["a"]})
    assert words.post("/model/any/invoke", content=body).status_code == 200
    assert words.post("/v1/ranking", content=body).status_code == 415


@pytest.mark.parametrize("count", [1, 3, 500])
def test_the_header_of_a_bare_list_has_whole_warnings_and_counts_the_rest(count: int) -> None:
    warnings = [f"texts[{number}]: é was drawn as a box" * 3 for number in range(count)]
    header = answers._bare([], SimpleNamespace(meta=SimpleNamespace(warnings=warnings))).headers[
        answers.WARNINGS_HEADER
    ]
    told = json.loads(header)
    assert len(header) <= 4000
    if count < 10:
        assert told == warnings
    else:
        assert told[:-1] == warnings[: len(told) - 1]
        assert told[-1] == f"and {count - len(told) + 1:,} more"
