"""Tests of what operators use: probes, metrics, logs, API keys, CORS, flags and environment variables."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import typer
from fastapi.testclient import TestClient
from server_process import Server
from typer.testing import CliRunner
from waiting import wait_until
from ziprerank.bundle import Bundle
from ziprerank.cli.app import app
from ziprerank.errors import InvalidInput
from ziprerank.reranker import Reranker
from ziprerank.serve.app import create_app
from ziprerank.serve.settings import Settings

Text = Callable[[bytes], str]


def test_probes_and_info(client: httpx.Client, bundle_path: Path) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").json() == {"status": "ready"}
    info, bundle = client.get("/info").json(), Bundle.load(bundle_path, check="size")
    assert info["bundle_id"] == bundle.bundle_id
    assert info["model"] == bundle.source["name"]
    assert info["defaults"]["keep_ratio"] == bundle.defaults.keep_ratio
    assert info["limits"]["max_pages"] == 200


def test_docs_work_offline(client: httpx.Client) -> None:
    page = client.get("/docs").text
    assert "https://" not in page.replace("https://fastapi.tiangolo.com", "")
    schema = client.get("/openapi.json").json()
    assert {"/rerank", "/v1/rerank", "/v2/rerank", "/v1/rerank/files", "/health"} <= set(schema["paths"])
    for path in ("/v1/rerank", "/v1/rerank/files"):
        described = set(schema["paths"][path]["post"]["responses"])
        assert {"200", "413", "422", "429", "503", "504", "507"} <= described


def test_metrics_count_what_happens(server: Server, client: httpx.Client, sample: bytes) -> None:
    names = [
        ("ziprerank_requests_total", {"path": "/v1/rerank/files", "status": "200"}),
        ("ziprerank_requests_total", {"path": "other", "status": "404"}),
        ("ziprerank_stage_seconds_count", {"stage": "rerank"}),
        ("ziprerank_pages_total", {}),
        ("ziprerank_page_cache_misses_total", {}),
        ("ziprerank_page_cache_hits_total", {}),
    ]
    before = [server.metric(name, **labels) for name, labels in names]
    client.get("/any/other/path")
    for _ in range(2):
        files = [("files", ("report.pdf", sample))]
        client.post("/v1/rerank/files", data={"query": "x", "pages": "16-17"}, files=files).raise_for_status()
    after = [server.metric(name, **labels) for name, labels in names]
    misses, hits = (after[place] - before[place] for place in (4, 5))
    assert [new - old for new, old in zip(after[:4], before[:4], strict=True)] == [2, 1, 2, 4]
    assert misses + hits == 4
    assert hits >= 2  # the second request finds the first one's page features


def test_blank_tokens_are_left_out_unless_kept(
    client: httpx.Client, bundle_path: Path, make_pdf: Callable[..., bytes]
) -> None:
    def usage(client: httpx.Client) -> dict[str, int]:
        files = [("files", ("page.pdf", make_pdf()))]
        answer = client.post("/v1/rerank/files", data={"query": "page", "keep_ratio": "1"}, files=files)
        counted: dict[str, int] = answer.raise_for_status().json()["usage"]
        return counted

    assert Bundle.load(bundle_path, check="size").defaults.blank == "drop"
    dropped = usage(client)
    with Server("--bundle", bundle_path, "--blank", "keep") as server, httpx.Client(base_url=server.url) as other:
        kept = usage(other)
    assert kept["blank_tokens"] == 0
    assert kept["kept_tokens"] == kept["visual_tokens"] == dropped["visual_tokens"]
    assert dropped["kept_tokens"] == dropped["visual_tokens"] - dropped["blank_tokens"]
    assert 0 < dropped["kept_tokens"] < dropped["visual_tokens"]  # the page has one line of text


def test_request_ids_and_logs(server: Server, client: httpx.Client, images: list[bytes], text: Text) -> None:
    body = {"query": "a secret query", "documents": [text(images[0])]}
    answer = client.post("/rerank", json=body, headers={"X-Request-ID": "trace-17"})
    assert answer.headers["X-Request-ID"] == answer.json()["id"] == "trace-17"
    forged = client.post("/rerank", json=body, headers={"X-Request-ID": 'a"b{}'})
    assert forged.headers["X-Request-ID"] not in ("", 'a"b{}')
    line = next(line for line in server.log if line.get("request_id") == "trace-17")
    assert (line["method"], line["path"], line["status"], line["level"]) == ("POST", "/rerank", 200, "info")
    assert line["ms"] > 0
    assert "a secret query" not in json.dumps(server.log)


def test_keys_cors_and_names_from_variables(bundle_path: Path, images: list[bytes], text: Text) -> None:
    variables = {
        "ZIPRERANK_BUNDLE": str(bundle_path),
        "ZIPRERANK_API_KEY": "first second",
        "ZIPRERANK_CORS_ORIGIN": "https://app.example",
        "ZIPRERANK_MODEL_NAME": "pages-v1",
        "ZIPRERANK_WEB_PAGE": "0",
        "ZIPRERANK_GUARD_METRICS": "1",
        "ZIPRERANK_LOG_LEVEL": "warning",
    }
    body = {"query": "x", "documents": [text(images[0])]}
    # --log-level on the command line wins over the variable
    with Server("--log-level", "info", variables=variables) as server, httpx.Client(base_url=server.url) as client:
        wrong = ({}, {"Authorization": "Bearer third"}, {"Authorization": "Basic first"}, {"X-API-Key": ""})
        for header in (*wrong, {"api-key": "Bearer first"}):
            answer = client.post("/v1/rerank", json=body, headers=header)
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.json()["error"]["type"] == "authentication_error"
        assert client.get("/info").status_code == client.get("/metrics").status_code == 401
        assert client.get("/health").status_code == 200
        assert client.get("/").status_code == 404
        for header in (
            {"Authorization": "Bearer first"},
            {"Authorization": "bearer second"},
            {"api-key": "first"},
            {"X-API-Key": "second"},
            {"Authorization": "Bearer none", "X-API-Key": "first"},  # of a client whose library insists on its own
        ):
            answer = client.post("/v1/rerank", json=body, headers=header)
            assert answer.json()["model"] == "pages-v1"
            assert client.get("/info", headers=header).status_code == 200
            assert client.get("/v1/models", headers=header).status_code == 200
            told = client.get("/metrics", headers=header)
            assert "\nziprerank_requests_total{" in told.text
        asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
        # what cohere-ai sends from a browser
        asked["Access-Control-Request-Headers"] = "authorization,content-type,x-fern-language,x-fern-sdk-version"
        allowed = client.options("/v1/rerank", headers=asked)
        assert allowed.status_code == 200
        assert allowed.headers["Access-Control-Allow-Origin"] == asked["Origin"]
        names = {name.strip().lower() for name in allowed.headers["Access-Control-Allow-Headers"].split(",")}
        assert names >= set(asked["Access-Control-Request-Headers"].split(","))
        asked["Origin"] = "https://evil.example"
        assert "Access-Control-Allow-Origin" not in client.options("/v1/rerank", headers=asked).headers
        assert server.stop() == 0
    assert "first" not in json.dumps(server.log)


def test_headers_of_other_pages_may_be_listed(reranker: Reranker) -> None:
    settings = Settings(cors_origins=("https://app.example",), cors_headers=("Authorization", "X-Mine"))
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    client = TestClient(create_app(reranker, settings))
    for name, status in (("x-mine", 200), ("authorization, x-mine", 200), ("x-fern-language", 400)):
        answer = client.options("/v1/rerank", headers={**asked, "Access-Control-Request-Headers": name})
        assert answer.status_code == status


@pytest.mark.parametrize("path", ["/v1/rerank", "/v1/rerank/files", "/tei/rerank"])
def test_compressed_bodies_are_refused(client: httpx.Client, path: str) -> None:
    body = gzip.compress(b'{"query": "x", "documents": ["y"]}')
    for coding in ("gzip", "br", "gzip, identity"):
        answer = client.post(path, content=body, headers={"Content-Encoding": coding})
        assert answer.status_code == 415
        assert answer.json()["message"] == f"the body is compressed (Content-Encoding: {coding}): send it as it is"
        assert answer.headers["Accept-Encoding"] == "identity"
    answer = client.post("/rerank", json={"query": "x", "documents": []}, headers={"Content-Encoding": "identity"})
    assert answer.status_code == 422  # as without the header


def test_a_server_that_drains_is_not_ready(reranker: Reranker) -> None:
    with TestClient(create_app(reranker)) as client:
        service = client.app.state.service  # type: ignore[attr-defined]
        wait_until(lambda: service.ready)
        assert client.get("/ready").status_code == 200
        service.admission.draining = True
        answer = client.get("/ready")
        assert (answer.status_code, answer.json()) == (503, {"status": "shutting down"})
        assert client.post("/v1/rerank", json={"query": "x", "documents": ["y"]}).status_code == 503
        assert client.get("/health").status_code == 200


def test_every_setting_is_a_flag() -> None:
    flags = {one.name for one in typer.main.get_command(app).commands["serve"].params}  # type: ignore[attr-defined]
    for field in dataclasses.fields(Settings):
        name = field.name.replace("_bytes", "_mib")
        assert name in flags or name.removesuffix("s") in flags, field.name


def test_every_flag_is_a_variable() -> None:
    parameters = typer.main.get_command(app).commands["serve"].params  # type: ignore[attr-defined]
    variables = {one.name: one.envvar for one in parameters if one.name != "help"}
    assert len(variables) > 20
    assert variables == {name: f"ZIPRERANK_{name.upper()}" for name in variables}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bundle", "nowhere"], "no bundle at nowhere"),
        (["--queue", "0"], "queue 0: must be at least 1"),
        (["--fetch", "listed"], "give hosts for 'listed' only"),
        (["--host", "203.0.113.1"], "cannot listen on 203.0.113.1:0"),
    ],
)
def test_a_server_that_cannot_start_says_why(options: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["serve", "--port", "0", *options])
    assert done.exit_code == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": 0},
        {"drain": float("nan")},
        {"fetch_hosts": ("a",)},
        {"api_keys": ("",)},
        {"max_held_bytes": 1},
        {"guard_metrics": True},
        {"cache_per_key": True},
    ],
)
def test_settings_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        Settings(**wrong)  # type: ignore[arg-type]
