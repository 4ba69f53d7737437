"""Traces of requests: the client's ``traceparent`` (https://www.w3.org/TR/trace-context/), and OpenTelemetry's spans.

Spans are made if OpenTelemetry is installed (extra ``otel``), and recorded if the process has a tracer provider, which
the operator sets up: there is no exporter here. Without OpenTelemetry the client's trace is named in the log and the
answer all the same.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from ziprerank._version import __version__
from ziprerank.ranking import Ranking
from ziprerank.serve.logs import trace_id

try:
    from opentelemetry import propagate, trace
except ImportError:
    HAS_SPANS = False
else:
    HAS_SPANS = True

_STAGES = ("pages", "tokenize", "vision", "rerank")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


@dataclass(slots=True)
class Traced:
    """What is known of a request when it has been answered.

    Attributes:
        traceparent: Names the trace in the answer; empty if there is none.
        status: Of the answer.
        noted: What its log line says of its ranking.
        span: Its span, of OpenTelemetry's type; None without OpenTelemetry.
    """

    traceparent: str = ""
    status: int = 500
    noted: dict[str, Any] = field(default_factory=dict)
    span: Any = None


_request: ContextVar[Traced | None] = ContextVar("request", default=None)


@contextmanager
def traced(method: str, path: str, headers: Mapping[str, str], *, quiet: bool = False) -> Iterator[Traced]:
    """Makes the span of a request, which is the current one meanwhile.

    Args:
        method: Of the request.
        path: Its route.
        headers: Its headers, with lower-case names.
        quiet: Whether to make none, as for probes.

    Yields:
        The request, whose ``status`` the caller sets.
    """
    request = Traced()
    token = _request.set(request)
    try:
        if HAS_SPANS and not quiet:
            with _span(request, method, path, headers):
                yield request
        else:
            given = headers.get("traceparent", "")
            found = _TRACEPARENT.fullmatch(given)
            request.traceparent = given if found else ""
            with _named(found[1] if found else None):
                yield request
    finally:
        _request.reset(token)


def note_ranking(ranking: Ranking, prepared: float, waited: float, ran: float) -> None:
    """Adds a ranking that has just ended to its request's log line and span.

    Args:
        ranking: Its pages, tokens and stages are noted.
        prepared: Seconds that opening its documents took.
        waited: Seconds that it waited for the engine.
        ran: Seconds that the engine ran.
    """
    request = _request.get()
    if request is None:
        return
    tokens = {kind: getattr(ranking.tokens, kind) for kind in ("text", "visual", "blank", "kept")}
    stages = {"prepare": prepared * 1e3, "queue": waited * 1e3}
    stages |= {stage: getattr(ranking.timings, stage) for stage in _STAGES}
    stages_ms = {stage: round(milliseconds, 1) for stage, milliseconds in stages.items()}
    request.noted = {"pages": ranking.pages, "windows": ranking.windows, "tokens": tokens, "stages_ms": stages_ms}
    if request.span is not None and request.span.is_recording():
        attributes: dict[str, int | float] = {"pages": ranking.pages, "windows": ranking.windows}
        attributes |= {f"tokens.{kind}": count for kind, count in tokens.items()}
        attributes |= {f"{stage}_ms": stages_ms[stage] for stage in _STAGES}  # they overlap, so they are no spans
        named = {f"ziprerank.{name}": value for name, value in attributes.items()}
        request.span.set_attributes(named)
        below = trace.set_span_in_context(request.span)  # the current span may be another library's
        at = time.time_ns() - round((prepared + waited + ran) * 1e9)
        for name, seconds in (("prepare", prepared), ("queue", waited), ("rank", ran)):
            span = trace.get_tracer("ziprerank", __version__).start_span(name, below, start_time=at)
            at += round(seconds * 1e9)
            span.end(at)


def note_status(status: int) -> None:
    """Has the request's log line, metrics and span name this status: of an answer that had begun with another one."""
    if (request := _request.get()) is not None:
        request.status = status


@contextmanager
def _span(request: Traced, method: str, path: str, headers: Mapping[str, str]) -> Iterator[None]:
    span = trace.get_tracer("ziprerank", __version__).start_span(
        f"{method} {path}",
        context=propagate.extract(headers),
        kind=trace.SpanKind.SERVER,
        attributes={"http.request.method": method, "http.route": path},
    )
    request.span = span
    context = span.get_span_context()
    identity = trace.format_trace_id(context.trace_id) if context.is_valid else None
    if identity is not None:
        request.traceparent = f"00-{identity}-{trace.format_span_id(context.span_id)}-{context.trace_flags:02x}"
    with trace.use_span(span, end_on_exit=True), _named(identity):
        try:
            yield
        finally:
            span.set_attribute("http.response.status_code", request.status)
            if request.status >= 500:
                span.set_status(trace.StatusCode.ERROR)


@contextmanager
def _named(identity: str | None) -> Iterator[None]:
    token = trace_id.set(identity)
    try:
        yield
    finally:
        trace_id.reset(token)
