"""Middleware that gives every request an id, a log line and its metrics, and answers when everything else failed."""

from __future__ import annotations

import re
from collections.abc import Collection
from time import perf_counter
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ziprerank.serve.failures import from_exception
from ziprerank.serve.logs import logger, request_id
from ziprerank.serve.metrics import Metrics
from ziprerank.serve.tracing import Traced, traced

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_KEPT = "/v1/documents/{document_id}"  # an id is in no log
_QUIET = ("/health", "/ready", "/metrics")  # requested every few seconds, so logged at debug level


class Telemetry:
    """ASGI middleware; it keeps a client's own ``X-Request-ID`` if that is short and plain."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: Collection[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._paths = paths  # all other paths share one label, so that no client can flood the metrics with names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        path = _KEPT if path.startswith(_KEPT.partition("{")[0]) else path if path in self._paths else "other"
        given = headers.get("x-request-id", "")
        own_id = given if _ID.fullmatch(given) else uuid4().hex
        token = request_id.set(own_id)
        try:
            with traced(scope["method"], path, headers, quiet=path in _QUIET) as request:
                await self._answer(scope, receive, send, request, path)
        finally:
            request_id.reset(token)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request: Traced, path: str) -> None:
        started, begun = perf_counter(), False

        async def tell(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                request.status, begun = message["status"], True
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id.get() or ""
                if request.traceparent:
                    headers["traceparent"] = request.traceparent
            await send(message)

        try:
            await self._app(scope, receive, tell)
        except Exception as error:
            logger.exception("failed")
            if begun:
                raise
            await from_exception(error)(scope, receive, tell)
        finally:
            seconds = perf_counter() - started
            self._metrics.answered(path, request.status, seconds)
            fields = {"method": scope["method"], "path": path, "status": request.status, "ms": round(seconds * 1e3, 1)}
            (logger.debug if path in _QUIET else logger.info)("answered", extra={"fields": fields | request.noted})
