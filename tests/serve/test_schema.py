"""Tests of the OpenAPI document: requests generated from it, valid and invalid, and a client generated from it."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from form_reading import is_form_allowed
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.schemas import APIOperation
from server_process import Server
from ziprerank.reranker import Reranker
from ziprerank.serve.app import create_app
from ziprerank.serve.dialects.table import DIALECTS
from ziprerank.serve.settings import Settings

load_all_checks()
ALL_CHECKS = CHECKS.get_all()
# of valid requests: no schema says which base64 is an image, that texts are refused, or what the only model is called
EXPECTED = ["2xx", "404", "413", "422"]


def ask(operation: APIOperation, mode: GenerationMode, url: str, examples: int) -> set[int]:
    """Sends generated requests and returns the statuses of the answers."""
    statuses: set[int] = set()

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(mode))
    def send(case: schemathesis.Case) -> None:
        answer = case.call(base_url=url)
        checks = ALL_CHECKS
        if mode is GenerationMode.NEGATIVE and is_right_form(operation, answer.request):
            checks = [check for check in checks if check.__name__ != "negative_data_rejection"]
        case.validate_response(answer, checks=checks)
        statuses.add(answer.status_code)

    send()
    return statuses


def is_right_form(operation: APIOperation, sent: requests.PreparedRequest) -> bool:
    """Whether a form is right as it is on the wire, where a number that was made in place of a string is a string."""
    form = operation.definition.raw.get("requestBody", {}).get("content", {}).get("multipart/form-data")
    if form is None:
        return False
    schema = operation.schema.raw_schema["components"]["schemas"][form["schema"]["$ref"].rpartition("/")[2]]
    body = sent.body or b""
    return is_form_allowed(schema, sent.headers, body.encode() if isinstance(body, str) else body)


@pytest.mark.parametrize("most", [4, pytest.param(40, marks=pytest.mark.slow)])
def test_requests_out_of_the_schema(server: Server, client: httpx.Client, most: int) -> None:
    """No answer is a 5xx, and every status, content type and body is one that the schema has."""
    names = {check.__name__ for check in ALL_CHECKS}
    assert {
        "not_a_server_error",
        "status_code_conformance",
        "response_schema_conformance",
        "positive_data_acceptance",
        "negative_data_rejection",
        "unsupported_method",
    } <= names
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    schema.config.checks.positive_data_acceptance.expected_statuses = EXPECTED
    schema.config.checks.negative_data_rejection.expected_statuses = ["4xx"]
    statuses: dict[str, set[int]] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        examples = most if operation.path in ("/rerank", "/v1/rerank/files") else 4  # the other routes share their code
        right = ask(operation, GenerationMode.POSITIVE, server.url, examples)
        wrong = ask(operation, GenerationMode.NEGATIVE, server.url, examples) if operation.method == "post" else set()
        statuses[operation.path] = right | wrong
    assert {"/rerank", "/v1/rerank", "/v2/rerank", "/v1/rerank/files", "/tei/rerank", "/v1/ranking"} < set(statuses)
    for path in ("/rerank", "/v1/rerank/files"):
        assert 422 in statuses[path]
    assert statuses["/health"] == {200}


@pytest.mark.parametrize(
    ("fields", "allowed"),
    [
        ({"password": 7, "pages": 1}, True),  # numbers and null are texts like others
        (
            {
                "password": {"a": [1]},
                "document_id": [0, "doc_0"],
                "top_n": "5",
                "keep_ratio": "0.5",
                "stream": "Yes",
            },
            True,
        ),
        ({"pages": "2", "include": ["logit", "kept"], "scale": "logit", "window": "20"}, True),
        ({"top_n": "", "scale": ""}, True),  # empty is not given
        ({"unknown": "x"}, False),
        ({"pages": ["1", "2"]}, False),  # neither of the two is dropped
        ({"top_n": ["", "5"]}, False),
        ({"include": ""}, False),  # but in a list
        ({"query": ""}, False),
        ({"pages": "1" * 10_001}, False),
        ({"top_n": "-1"}, False),
        ({"top_n": "1.5"}, False),
        ({"keep_ratio": 0}, False),
        ({"keep_ratio": "nan"}, False),
        ({"thumbnail_side": 1025}, False),
        ({"stream": "null"}, False),
        ({"window": "21"}, False),
        ({"include": ["logit", "x"]}, False),
        ({"include": ["logit"] * 9}, False),
        ({"files": "a text"}, False),
    ],
)
def test_forms_are_judged_as_the_server_reads_them(client: httpx.Client, fields: dict[str, Any], allowed: bool) -> None:
    """What is allowed fails only because the document is not there."""
    texts = [
        (name, (None, one if isinstance(one, str) else json.dumps(one)))
        for name, value in {"query": "q", "document_id": "doc_0", **fields}.items()
        for one in (value if isinstance(value, list) else [value])
    ]
    document = client.get("/openapi.json").json()
    schema = document["components"]["schemas"]["Body_rerank_files_v1_rerank_files_post"]
    sent = client.build_request("POST", "/v1/rerank/files", files=texts)
    assert is_form_allowed(schema, sent.headers, sent.read()) is allowed
    assert client.send(sent).status_code == (404 if allowed else 422)


@pytest.mark.parametrize("path", ["/v1/rerank/files", "/v1/documents"])
def test_no_field_of_a_form_is_null(reranker: Reranker, path: str) -> None:
    document = create_app(reranker).openapi()
    content = document["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]
    form = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    assert all({"type", "title"} <= field.keys() and "anyOf" not in field for field in form["properties"].values())
    password = form["properties"]["password"]
    assert (password["type"], password["maxLength"], password["title"]) == ("string", 1000, "Password")
    assert "password" not in form["required"]


def test_every_path_of_another_api_is_there_with_its_body(reranker: Reranker) -> None:
    document = create_app(reranker).openapi()
    schemas = document["components"]["schemas"]
    for path in DIALECTS:
        post = document["paths"][path.replace(":path}", "}")]["post"]
        name = post["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert name in schemas

    def required(path: str) -> list[str]:
        content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        found: list[str] = schemas[content["schema"]["$ref"].rpartition("/")[2]]["required"]
        return found

    assert required("/tei/rerank") == ["query", "texts"]
    assert required("/v1/ranking") == ["query", "passages"]
    assert required("/v1/reranking") == ["query", "input"]
    assert required("/score") == ["text_1", "text_2"]
    assert "top_k" in schemas["VoyageRequest"]["properties"]
    assert "top_n" not in schemas["VoyageRequest"]["properties"]
    operations = [one["operationId"] for item in document["paths"].values() for one in item.values()]
    assert len(operations) == len(set(operations))


def test_bodies_by_the_schema_are_answered_by_the_schema(client: httpx.Client) -> None:
    """The documented names are those that are read, and the answers have the lists and scores that are documented."""
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    for path in DIALECTS:
        shown = path.replace(":path}", "}")
        post = document["paths"][shown]["post"]
        name = post["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        query, documents = schemas[name]["required"]
        body = {query: "dividends", documents: ["Dividends are paid in May.", "Soup."], "render_text": True}
        answer = client.post(shown.replace("{model}", "any"), json=body)
        assert answer.status_code == 200, answer.text
        schema = post["responses"]["200"]["content"]["application/json"]["schema"]
        if "$ref" in schema:
            assert {one["index"] for one in answer.json()["results"]} == {0, 1}
            continue
        found = answer.json()
        if schema["type"] == "object":
            (listed,) = schema["required"]
            schema, found = schema["properties"][listed], found[listed]
        assert {one["index"] for one in found} == {0, 1}
        assert all(set(schema["items"]["required"]) <= set(one) for one in found)


def test_keys_are_asked_for_where_they_are_needed(reranker: Reranker) -> None:
    def secured(settings: Settings) -> dict[str, Any]:
        document = create_app(reranker, settings).openapi()
        return {path: one.get("security") for path, item in document["paths"].items() for one in item.values()}

    open_service = create_app(reranker).openapi()
    assert "securitySchemes" not in open_service["components"]
    assert set(map(str, secured(Settings()).values())) == {"None"}
    assert "401" not in open_service["paths"]["/v1/rerank"]["post"]["responses"]
    ways = [{"bearer": []}, {"api-key": []}, {"x-api-key": []}]
    guarded = secured(Settings(api_keys=("k",)))
    free = {path for path, ways_in in guarded.items() if ways_in is None}
    assert free == {"/health", "/ready", "/metrics"}
    assert all(guarded[path] == ways for path in guarded.keys() - free)
    assert secured(Settings(api_keys=("k",), guard_metrics=True))["/metrics"] == ways


def test_a_generated_client_uploads_files(
    server: Server, client: httpx.Client, sample: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openapi_python_client")
    document = client.get("/openapi.json").json()
    files = document["components"]["schemas"]["Body_rerank_files_v1_rerank_files_post"]["properties"]["files"]
    assert files["items"] == {"type": "string", "format": "binary"}
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    out = tmp_path / "generated_client"
    what = ["generate", "--path", tmp_path / "openapi.json", "--output-path", out, "--meta", "none"]
    subprocess.run([sys.executable, "-m", "openapi_python_client", *what], check=True, capture_output=True)
    monkeypatch.syspath_prepend(tmp_path)
    made = importlib.import_module("generated_client")
    models = importlib.import_module("generated_client.models")
    types = importlib.import_module("generated_client.types")
    rerank = importlib.import_module("generated_client.api.rerank.rerank_files_v1_rerank_files_post")
    body = models.BodyRerankFilesV1RerankFilesPost(
        files=[types.File(payload=sample, file_name="a.pdf", mime_type="application/pdf")],
        query="dividend",
        pages="1-3",
    )
    answer = rerank.sync(client=made.Client(base_url=server.url), body=body)
    assert isinstance(answer, models.RerankResponse)
    assert sorted(result.page for result in answer.results) == [1, 2, 3]
