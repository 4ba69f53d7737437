"""Tests of every documented shape of a request against the library's own ranking of the same pages."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable
from typing import Any

import cohere
import httpx
import pytest
from PIL import Image
from reportlab.pdfgen.canvas import Canvas
from server_process import Server
from ziprerank.explain import kept_mask
from ziprerank.inputs.pages import Pdf
from ziprerank.reranker import Reranker
from ziprerank.scales import SCALES, Scale

Text = Callable[[bytes], str]
QUERY = "dividend shareholders board directors"


def scores(answer: dict[str, Any]) -> dict[int, float]:
    return {result["index"]: result["relevance_score"] for result in answer["results"]}


def expected(reranker: Reranker, images: list[bytes], top_k: int | None = None, **options: Any) -> dict[int, float]:
    return {page.index: page.probability for page in reranker.rank(QUERY, images, top_k, **options)}


def data_url(image: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(image).decode()


def test_cohere_v2_client(server: Server, client: httpx.Client, reranker: Reranker, images: list[bytes]) -> None:
    del client  # checks the server afterwards
    official = cohere.ClientV2(api_key="none", base_url=server.url)
    documents = [data_url(image) for image in images]
    answer = official.rerank(model="rerank-v3.5", query=QUERY, documents=documents, top_n=3, max_tokens_per_doc=4096)
    found = {result.index: result.relevance_score for result in answer.results}
    wanted = expected(reranker, images, 3)
    assert list(found) == list(wanted)
    assert found == pytest.approx(wanted, abs=1e-6)
    assert answer.id
    assert answer.meta is not None
    assert answer.meta.api_version is not None
    assert answer.meta.api_version.version == "2"
    assert answer.meta.tokens is not None
    assert answer.meta.tokens.output_tokens == 0


def test_cohere_v1_client(server: Server, client: httpx.Client, reranker: Reranker, images: list[bytes]) -> None:
    del client
    official = cohere.Client(api_key="none", base_url=server.url)
    documents = [data_url(image) for image in images]
    answer = official.rerank(query=QUERY, documents=documents, model="rerank-english-v3.0", max_chunks_per_doc=10)
    found = {result.index: result.relevance_score for result in answer.results}
    assert found == pytest.approx(expected(reranker, images), abs=1e-6)


def test_cohere_errors(server: Server, client: httpx.Client) -> None:
    del client
    official = cohere.ClientV2(api_key="none", base_url=server.url)
    with pytest.raises(cohere.UnprocessableEntityError) as caught:
        official.rerank(model="rerank-v3.5", query=QUERY, documents=["a text of words"])
    assert "set render_text" in caught.value.body["message"]


def test_jina(client: httpx.Client, reranker: Reranker, images: list[bytes], text: Text) -> None:
    body = {
        "model": "jina-reranker-m0",
        "query": QUERY,
        "documents": [{"image": text(image)} for image in images],
        "top_n": 2,
        "return_documents": True,
    }
    answer = client.post("/v1/rerank", json=body).raise_for_status().json()
    assert scores(answer) == pytest.approx(expected(reranker, images, 2), abs=1e-6)
    assert answer["usage"]["total_tokens"] == answer["usage"]["text_tokens"] + answer["usage"]["kept_tokens"]
    for result in answer["results"]:
        assert result["document"] == body["documents"][result["index"]]


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_vllm(client: httpx.Client, reranker: Reranker, images: list[bytes], path: str) -> None:
    body = {
        "model": "any",
        "query": QUERY,
        "documents": [
            {"content": [{"type": "image_url", "image_url": {"url": data_url(image)}}]} for image in images[:3]
        ],
        "top_n": 0,
        "truncate_prompt_tokens": -1,
    }
    answer = client.post(path, json=body).raise_for_status().json()
    assert scores(answer) == pytest.approx(expected(reranker, images[:3]), abs=1e-6)
    assert set(answer) == {"id", "model", "usage", "results", "meta"}
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"]


def test_shapes_may_be_mixed(client: httpx.Client, reranker: Reranker, images: list[bytes], text: Text) -> None:
    """A bare string is an image if it is base64 that begins as one, also with the line breaks of MIME."""
    documents = [
        text(images[0]),
        base64.encodebytes(images[1]).decode(),
        {"image": data_url(images[2])},
        {"content": [{"type": "image_url", "image_url": {"url": data_url(images[3])}}]},
    ]
    answer = client.post("/rerank", json={"query": QUERY, "documents": documents, "keep_ratio": 0.25})
    assert scores(answer.raise_for_status().json()) == pytest.approx(
        expected(reranker, images[:4], keep_ratio=0.25), abs=1e-6
    )


def test_pdf_in_json(client: httpx.Client, reranker: Reranker, sample: bytes, images: list[bytes], text: Text) -> None:
    """``index`` is the document's position and ``page`` the PDF's page; windows and options act as in the library."""
    body = {
        "query": QUERY,
        "documents": [{"image": text(images[0])}, {"pdf": text(sample), "pages": "3-9"}],
        "window": 4,
        "stride": 2,
        "include": ["logit", "kept", "timings", "thumbnail"],
        "thumbnail_side": 100,
    }
    answer = client.post("/v1/rerank", json=body).raise_for_status().json()
    ranking = reranker.rank(QUERY, [images[0], Pdf(sample, pages="3-9")], window=4, stride=2)
    assert [(result["index"], result.get("page")) for result in answer["results"]] == [
        (0, None) if page.page is None else (1, page.page) for page in ranking
    ]
    for result, page in zip(answer["results"], ranking, strict=True):
        assert result["relevance_score"] == pytest.approx(page.probability, abs=1e-6)
        assert result["logit"] == pytest.approx(page.score, abs=1e-5)
        mask = kept_mask(page, reranker.bundle.image.factor)
        assert (result["kept"]["rows"], result["kept"]["columns"]) == mask.shape
        assert result["kept"]["ratio"] == pytest.approx(mask.mean())
        assert result["kept"]["tokens"] == list(page.kept)
        head, _, picture = result["thumbnail"].partition(",")
        assert head == "data:image/jpeg;base64"
        assert max(Image.open(io.BytesIO(base64.b64decode(picture))).size) == 100
    assert answer["meta"]["windows"] == ranking.windows
    assert ranking.windows > 1
    for name in ("relevance_score", "logit"):
        by_score = sorted(answer["results"], key=lambda result: -result[name])
        assert by_score == answer["results"]
    timings = answer["meta"]["timings_ms"]
    assert set(timings) == {"prepare", "queue", "pages", "tokenize", "vision", "rerank", "total"}
    assert answer["usage"]["kept_tokens"] == ranking.tokens.kept


def long_pdf(pages: int = 40) -> bytes:
    """A PDF whose page i is about ``subject<i>`` and a few words more."""
    stream = io.BytesIO()
    canvas = Canvas(stream, pagesize=(200, 260), invariant=1)
    for page in range(pages):
        canvas.drawString(20, 200, f"about subject{page} and nothing else")
        canvas.showPage()
    canvas.save()
    return stream.getvalue()


def test_a_long_document(client: httpx.Client, reranker: Reranker, text: Text) -> None:
    """Text picks the pages that the model reads; the answer says so, and sorted by score it is the ranking."""
    document = long_pdf()
    body = {"query": "subject7", "documents": [{"pdf": text(document)}], "include": ["passes"], "candidates": 12}
    body |= {"first_stage": "text"}
    answer = client.post("/v1/rerank", json=body).raise_for_status().json()
    ranking = reranker.rank("subject7", document, first_stage="text", candidates=12)
    assert [result["page"] for result in answer["results"]] == [page.page for page in ranking]
    assert [result["passes"] for result in answer["results"]] == [[1]] * 12 + [[]] * 28
    assert 8 in [result["page"] for result in answer["results"][:12]]
    found = [result["relevance_score"] for result in answer["results"]]
    assert found == sorted(set(found), reverse=True)
    told = answer["meta"]
    assert (told["first_stage"], told["strategy"], told["windows"], told["pages"]) == ("text", "windows", 1, 40)

    seen = {"query": "subject7", "first_stage": "relevance", "candidates": "9"}
    sent = client.post("/v1/rerank/files", data=seen, files={"files": document}).raise_for_status().json()
    by_tokens = reranker.rank("subject7", document, first_stage="relevance", candidates=9)
    assert [result["page"] for result in sent["results"]] == [page.page for page in by_tokens]
    assert (sent["meta"]["first_stage"], sent["meta"]["windows"]) == ("relevance", 1)
    assert [page.page for page in by_tokens] != [page.page for page in ranking]

    form = {"query": "subject7", "first_stage": "none", "strategy": "partition", "window": "12", "top_n": "3"}
    sent = client.post("/v1/rerank/files", data=form, files={"files": document}).raise_for_status().json()
    plain = reranker.rank("subject7", document, 3, first_stage="none", strategy="partition", window=12)
    assert [result["page"] for result in sent["results"]] == [page.page for page in plain]
    assert (sent["meta"]["strategy"], sent["meta"]["windows"]) == ("partition", plain.windows)


def test_pages_that_were_not_read_are_told_by_their_passes(
    client: httpx.Client, reranker: Reranker, text: Text
) -> None:
    """A threshold lets them through wherever it lets the last page through that was read, so `passes` come first."""
    document = long_pdf()
    body = {"query": "subject7", "documents": [{"pdf": text(document)}], "include": ["passes"], "scale": "sigmoid"}
    results = client.post("/v1/rerank", json=body).raise_for_status().json()["results"]
    read = [result for result in results if result["passes"]]
    assert results[: len(read)] == read  # they come first
    assert (len(read), len(results)) == (20, 40)
    threshold = read[-1]["relevance_score"] - 1e-4
    assert all(result["relevance_score"] > threshold for result in results)
    ranking = reranker.rank("subject7", document)
    assert [page.page for page in ranking if page.passes] == [result["page"] for result in read]
    short = client.post("/v1/rerank", json=body | {"top_n": 20}).raise_for_status().json()["results"]
    assert [result["page"] for result in short] == [result["page"] for result in read]
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert "has no `passes`" in schemas["Result"]["properties"]["relevance_score"]["description"]


def test_a_budget_that_nothing_meets_is_told(client: httpx.Client, text: Text) -> None:
    """The answer says what was chosen for it, in JSON and in forms, and without one says nothing."""
    document = long_pdf()
    body = {"query": "subject7", "documents": [{"pdf": text(document)}], "top_n": 3}
    asked = client.post("/v1/rerank", json=body | {"budget_ms": 1e-6}).raise_for_status().json()
    form = {"query": "subject7", "top_n": "3", "keep_ratio": "0.4", "budget_ms": "1e-6"}
    sent = client.post("/v1/rerank/files", data=form, files={"files": document}).raise_for_status().json()
    usual = client.post("/v1/rerank", json=body).raise_for_status().json()
    for answer, ratio in ((asked, 0.1), (sent, 0.4)):
        chosen = answer["meta"]["budget"]
        assert (chosen["candidates"], chosen["keep_ratio"], chosen["fits"]) == (3, ratio, False)
        assert chosen["estimated_ms"] > chosen["budget_ms"]
        assert answer["meta"]["keep_ratio"] == ratio
        assert answer["usage"]["visual_tokens"] < usual["usage"]["visual_tokens"]
    assert "budget" not in usual["meta"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("first_stage", "words"), ("candidates", 0), ("strategy", "best"), ("scale", "points"), ("budget_ms", 0)],
)
def test_bad_options_of_long_documents(
    client: httpx.Client, images: list[bytes], text: Text, field: str, value: Any
) -> None:
    answer = client.post("/v1/rerank", json={"query": QUERY, "documents": [text(images[0])], field: value})
    assert answer.status_code == 422
    assert field in answer.json()["message"]


@pytest.mark.parametrize("scale", SCALES)
def test_a_request_says_what_its_scores_are(
    client: httpx.Client, reranker: Reranker, images: list[bytes], text: Text, scale: Scale
) -> None:
    """The softmax over a single page is 1 whatever the query; its sigmoid is not."""
    body = {"query": QUERY, "documents": [text(images[0])], "scale": scale}
    answer = client.post("/v1/rerank", json=body).raise_for_status().json()
    (page,) = reranker.rank(QUERY, images[0])
    (result,) = answer["results"]
    wanted = {"probability": 1.0, "logit": page.score, "sigmoid": 1 / (1 + math.exp(-page.score))}[scale]
    assert result["relevance_score"] == pytest.approx(wanted, abs=1e-5)
    assert answer["meta"]["scale"] == scale
    form = client.post("/v1/rerank/files", data={"query": QUERY, "scale": scale}, files={"files": images[0]})
    assert form.raise_for_status().json()["results"][0]["relevance_score"] == pytest.approx(wanted, abs=1e-5)


def test_uploaded_files(client: httpx.Client, reranker: Reranker, sample: bytes, images: list[bytes]) -> None:
    files = [("files", ("report.pdf", sample)), ("files", ("scan.jpg", images[1]))]
    form = {"query": QUERY, "pages": "2,5-6", "top_n": "3", "keep_ratio": "0.5", "window": "off", "include": ["logit"]}
    answer = client.post("/v1/rerank/files", data=form, files=files).raise_for_status().json()
    ranking = reranker.rank(QUERY, [Pdf(sample, pages="2,5-6"), images[1]], 3, keep_ratio=0.5, window="off")
    assert [(result["index"], result.get("page")) for result in answer["results"]] == [
        (1 if page.page is None else 0, page.page) for page in ranking
    ]
    assert [result["logit"] for result in answer["results"]] == pytest.approx(
        [page.score for page in ranking], abs=1e-5
    )


def test_encrypted_pdf_with_its_password(client: httpx.Client, encrypted: bytes, text: Text) -> None:
    document = {"pdf": text(encrypted), "password": "secret"}
    assert client.post("/rerank", json={"query": QUERY, "documents": [document]}).status_code == 200


def test_texts_are_drawn_when_asked_for(client: httpx.Client, reranker: Reranker) -> None:
    from ziprerank.serve.text_page import lay_out

    texts = ["Dividends are paid in May.", "Soup is served at noon.\n\nFish on Fridays."]
    body = {"query": QUERY, "documents": [texts[0], {"text": texts[1]}], "render_text": True}
    answer = client.post("/v2/rerank", json=body).raise_for_status().json()
    pages = [lay_out(text, reranker.bundle.image.longest_side).draw() for text in texts]
    found = {page.index: page.probability for page in reranker.rank(QUERY, pages)}
    assert scores(answer) == pytest.approx(found, abs=1e-6)
