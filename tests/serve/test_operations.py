"""Tests of what operators use: probes, metrics, logs, API keys, CORS, flags and environment variables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import typer
from server_process import Server
from typer.testing import CliRunner
from ziprerank.bundle import Bundle
from ziprerank.cli.app import app
from ziprerank.errors import InvalidInput
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
        assert {"200", "401", "413", "422", "429", "503", "504", "507"} <= described


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
        for header in ({}, {"Authorization": "Bearer third"}, {"Authorization": "Basic first"}):
            answer = client.post("/v1/rerank", json=body, headers=header)
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.json()["error"]["type"] == "authentication_error"
        assert client.get("/info").status_code == client.get("/metrics").status_code == 401
        assert client.get("/health").status_code == 200
        assert client.get("/").status_code == 404
        for key in ("first", "second"):
            answer = client.post("/v1/rerank", json=body, headers={"Authorization": f"Bearer {key}"})
            assert answer.json()["model"] == "pages-v1"
            told = client.get("/metrics", headers={"Authorization": f"Bearer {key}"})
            assert "\nziprerank_requests_total{" in told.text
        asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
        assert client.options("/v1/rerank", headers=asked).headers["Access-Control-Allow-Origin"] == asked["Origin"]
        asked["Origin"] = "https://evil.example"
        assert "Access-Control-Allow-Origin" not in client.options("/v1/rerank", headers=asked).headers
        assert server.stop() == 0
    assert "first" not in json.dumps(server.log)


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
