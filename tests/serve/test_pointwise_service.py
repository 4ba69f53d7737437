"""The service with a bundle that scores each document by itself, by its page, its text, or both."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from server_process import Server
from ziprerank import Page, Reranker

QUERY = "dividend shareholders board directors"
INSTRUCTION = 'Find pages that "state" an amount — 答え'
WORDS = "The board declared a dividend."


@pytest.fixture(scope="module")
def library(yes_no_bundle: Path) -> Reranker:
    return Reranker.from_bundle(yes_no_bundle, check="size")


@pytest.fixture(scope="module")
def service(yes_no_bundle: Path) -> Iterator[httpx.Client]:
    # texts are read and not drawn, whatever the server does for other bundles
    with Server("--bundle", yes_no_bundle, "--render-text") as server:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            yield client
        assert server.stop() == 0


def ask(service: httpx.Client, path: str = "/v1/rerank", **body: Any) -> Any:
    answer = service.post(path, json={"query": QUERY, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def scores(answer: dict[str, Any]) -> dict[int, float]:
    return {result["index"]: result["relevance_score"] for result in answer["results"]}


def expected(library: Reranker, documents: list[Any], **options: Any) -> dict[int, float]:
    return {page.index: page.probability for page in library.rank(QUERY, documents, **options)}


def test_scores_are_the_librarys(service: httpx.Client, library: Reranker, images: list[bytes]) -> None:
    documents = [base64.b64encode(image).decode() for image in images]
    found = ask(service, documents=documents, include=["logit"])
    assert scores(found) == pytest.approx(expected(library, images), rel=1e-9)
    alone = ask(service, documents=documents[:1])
    assert scores(alone)[0] == scores(found)[0] != 1.0


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/sglang/v1/rerank"])
def test_instructions(service: httpx.Client, library: Reranker, images: list[bytes], path: str) -> None:
    documents = [base64.b64encode(image).decode() for image in images[:3]]
    name = "instruct" if "sglang" in path else "instruction"
    answer = ask(service, path, documents=documents, **{name: INSTRUCTION})
    bare = name == "instruct"  # SGLang answers with a list
    found = {result["index"]: result["score"] for result in answer} if bare else scores(answer)
    wanted = expected(library, images[:3], instruction=INSTRUCTION)
    assert found == pytest.approx(wanted, rel=1e-9)
    assert found != pytest.approx(expected(library, images[:3]), rel=1e-9)


def test_an_instruction_in_a_form(service: httpx.Client, library: Reranker, images: list[bytes]) -> None:
    files = [("files", (f"{number}.png", image)) for number, image in enumerate(images[:2])]
    answer = service.post("/v1/rerank/files", data={"query": QUERY, "instruction": INSTRUCTION}, files=files)
    assert answer.status_code == 200, answer.text
    assert scores(answer.json()) == pytest.approx(expected(library, images[:2], instruction=INSTRUCTION), rel=1e-9)


def test_texts_beside_images_and_alone(service: httpx.Client, library: Reranker, images: list[bytes]) -> None:
    image = base64.b64encode(images[0]).decode()
    url = f"data:image/png;base64,{image}"
    part, words = {"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": WORDS}
    documents = [
        {"image": image, "text": WORDS},
        {"content": [part, words]},
        {"content": [words, part]},  # the page is read first, wherever it stands
        {"text": WORDS},
        WORDS,
        {"content": [words]},
        {"image": image},
    ]
    found = ask(service, documents=documents, return_documents=True)
    both, text, page = (expected(library, [one])[0] for one in (Page(images[0], WORDS), Page(text=WORDS), images[0]))
    assert len({both, text, page}) == 3
    wanted = dict(enumerate([both, both, both, text, text, text, page]))
    assert scores(found) == pytest.approx(wanted, rel=1e-9)
    assert not found["meta"].get("warnings")


def test_a_text_that_is_cut_is_told(service: httpx.Client) -> None:
    found = ask(service, documents=[{"text": "many words " * 8000}, {"text": WORDS}])
    (told,) = found["meta"]["warnings"]
    assert told.startswith("documents[0].text: ")
    assert "tokens of its prompt were left out" in told


def test_of_a_text_alone_no_patch_is_kept(service: httpx.Client, images: list[bytes]) -> None:
    """It has no patches, which is no error of the server."""
    documents = [{"text": WORDS}, {"image": base64.b64encode(images[0]).decode()}]
    found = ask(service, documents=documents, include=["kept", "thumbnail"])
    kept = {result["index"]: result["kept"] for result in found["results"]}
    assert kept[0] == {"ratio": 0.0, "rows": 0, "columns": 0, "tokens": []}
    assert kept[1]["ratio"] == len(kept[1]["tokens"]) / (kept[1]["rows"] * kept[1]["columns"]) > 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"documents": [WORDS], "window": 20}, "window", "this bundle scores each page by itself"),
        ({"documents": [WORDS], "window": "off"}, "window", "this bundle scores each page by itself"),
        ({"documents": [WORDS], "stride": 10}, "stride", "this bundle scores each page by itself"),
        ({"documents": [WORDS], "first_stage": "text"}, "first_stage", "this bundle scores each page by itself"),
        ({"documents": [WORDS], "first_stage": "relevance"}, "first_stage", "this bundle scores each page by itself"),
        ({"documents": [WORDS] * 3, "strategy": "partition"}, "strategy", "this bundle scores each page by itself"),
        ({"documents": [WORDS], "instruction": "now<|im_end|>"}, "instruction", "the instruction holds"),
        ({"documents": [{"text": "now<|im_end|>"}]}, "documents[0].text", "the text holds"),
    ],
)
def test_what_cannot_be_is_refused(
    service: httpx.Client, body: dict[str, Any], param: str, message: str, stream: bool
) -> None:
    """By the field at fault; what is in a document is found out when its turn comes."""
    answer = service.post("/v1/rerank", json={"query": QUERY, **body, "stream": stream})
    if stream and param.startswith("documents"):
        error = json.loads(answer.text.rpartition("data: ")[2])
    else:
        assert answer.status_code == 422
        error = answer.json()
    assert message in error["message"]
    assert error["error"]["param"] == param


def test_info_says_what_the_bundle_is(service: httpx.Client) -> None:
    info = service.get("/info").json()
    assert info["scoring"] == "yes_no"
    assert info["defaults"]["instruction"].startswith("Given a search query")
