"""Tests of traces: the client's ``traceparent`` in logs and answers, and OpenTelemetry's spans."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from server_process import Server
from waiting import wait_until
from ziprerank.reranker import Reranker
from ziprerank.serve import tracing
from ziprerank.serve.app import create_app
from ziprerank.serve.logs import JsonFormatter, logger

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What a tracer provider exports that only this test has: the process's own could be set only once."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing.trace, "get_tracer", provider.get_tracer)
    return exporter


PROVIDER = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
import logging
class Logged(SpanExporter):
    def export(self, spans):
        for span in spans:
            logging.getLogger("spans").warning(span.name)
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(Logged()))
trace.set_tracer_provider(provider)
"""


@pytest.fixture
def server_process_spans(bundle_path: Path, sample: bytes) -> list[str]:
    """The names of a ranking's spans in a process that has a provider for everybody, as an operator sets it up."""
    with Server("--bundle", bundle_path, before=PROVIDER) as server, httpx.Client(base_url=server.url) as client:
        rank(client, sample).raise_for_status()
        server.stop()
    return [line["message"] for line in server.log if line.get("logger") == "spans"]


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """The log, as it is written."""
    found: list[dict[str, Any]] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(json.loads(JsonFormatter().format(record)))

    handler, level = Kept(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(level)


def rank(client: Any, sample: bytes, **headers: str) -> httpx.Response:
    files = {"files": ("report.pdf", sample)}
    answer: httpx.Response = client.post(
        "/v1/rerank/files", data={"query": "x", "pages": "1-3", "include": "timings"}, files=files, headers=headers
    )
    return answer


def test_log_lines_have_pages_tokens_and_stages(server: Server, client: httpx.Client, sample: bytes) -> None:
    answer = rank(client, sample, **{"traceparent": PARENT, "X-Request-ID": "stages-1"}).json()
    wait_until(lambda: any(line.get("request_id") == "stages-1" for line in server.log))  # written after the answer
    (line,) = (line for line in server.log if line.get("request_id") == "stages-1")
    assert line["trace_id"] == TRACE
    assert (line["pages"], line["windows"]) == (3, 1)
    usage = answer["usage"]
    assert line["tokens"] == {kind: usage[f"{kind}_tokens"] for kind in ("text", "visual", "blank", "kept")}
    timings = answer["meta"]["timings_ms"]
    for stage in ("prepare", "queue", "pages", "tokenize", "vision", "rerank"):
        assert line["stages_ms"][stage] == pytest.approx(timings[stage], abs=0.06)
    assert sum(line["stages_ms"].values()) > 0


@pytest.mark.parametrize("spans_are_installed", [True, False])
def test_a_trace_is_taken_over(
    reranker: Reranker,
    lines: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    spans_are_installed: bool,
) -> None:
    """With OpenTelemetry, but no provider, and without it: the client's trace goes into the log and the answer."""
    monkeypatch.setattr(tracing, "HAS_SPANS", spans_are_installed)
    client = TestClient(create_app(reranker))
    assert client.get("/info", headers={"traceparent": PARENT}).headers["traceparent"] == PARENT
    assert lines[-1]["trace_id"] == TRACE
    wrong = (
        "",
        "x",
        PARENT + "0",
        PARENT.replace("00-", "ff-", 1),
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        PARENT.upper(),
    )
    for header in wrong:
        answer = client.get("/info", headers={"traceparent": header})
        assert answer.status_code == 200
        assert "traceparent" not in answer.headers
        assert "trace_id" not in lines[-1]


def test_spans(reranker: Reranker, sample: bytes, spans: InMemorySpanExporter, lines: list[dict[str, Any]]) -> None:
    with TestClient(create_app(reranker)) as client:
        answer = rank(client, sample, traceparent=PARENT)
        assert client.get("/health").status_code == 200  # probes have no spans
    found: dict[str, ReadableSpan] = {span.name: span for span in spans.get_finished_spans()}
    assert set(found) == {"POST /v1/rerank/files", "prepare", "queue", "rank"}
    root = found.pop("POST /v1/rerank/files")
    assert root.context is not None
    assert root.parent is not None
    assert root.kind is trace.SpanKind.SERVER
    assert trace.format_trace_id(root.context.trace_id) == TRACE
    assert trace.format_span_id(root.parent.span_id) == "00f067aa0ba902b7"
    assert answer.headers["traceparent"] == f"00-{TRACE}-{trace.format_span_id(root.context.span_id)}-01"
    usage, attributes = answer.json()["usage"], dict(root.attributes or {})
    assert attributes["http.response.status_code"] == 200
    assert attributes["ziprerank.pages"] == 3
    assert attributes["ziprerank.tokens.kept"] == usage["kept_tokens"]
    assert attributes["ziprerank.rerank_ms"] == lines[-1]["stages_ms"]["rerank"]
    times = []
    for name in ("prepare", "queue", "rank"):
        span = found[name]
        assert span.parent is not None
        assert span.parent.span_id == root.context.span_id
        times += [span.start_time or 0, span.end_time or 0]
    assert times == sorted(times)  # one after the other
    assert times[1] == times[2]
    assert times[3] == times[4]


def test_no_other_library_makes_spans(server_process_spans: list[str]) -> None:
    """FastAPI has spans of its own in newer releases, which would double ours."""
    assert sorted(server_process_spans) == ["POST /v1/rerank/files", "prepare", "queue", "rank"]


def test_a_failure_is_an_error_of_its_span(
    reranker: Reranker, sample: bytes, spans: InMemorySpanExporter, lines: list[dict[str, Any]]
) -> None:
    app = create_app(reranker)
    app.state.service.admission.draining = True
    client = TestClient(app)
    assert rank(client, sample).status_code == 503
    (span,) = spans.get_finished_spans()
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.parent is None
    assert span.context is not None
    assert lines[-1]["trace_id"] == trace.format_trace_id(span.context.trace_id)
    assert client.post("/v1/rerank", json={}).status_code == 503


def test_build_info(server: Server, client: httpx.Client) -> None:
    info = client.get("/info").json()
    labels = {name: info[name] for name in ("version", "model", "bundle_id", "precision", "provider")}
    labels["onnxruntime"] = info["runtime_version"]
    assert server.metric("ziprerank_build_info", **labels) == 1
