"""Runs the handlers of admitted requests: receives the body, watches the clock and the client, hands out the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ziprerank.errors import EngineError, WorkerError
from ziprerank.serve.admission import Permit
from ziprerank.serve.bodies import ReceivedRequest
from ziprerank.serve.events import Events, EventStream
from ziprerank.serve.failures import LEFT, Refused, from_exception
from ziprerank.serve.handing import abandon, begin_reading, hand_out
from ziprerank.serve.logs import logger

_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class AdmittedRoute(APIRoute):
    """A route whose requests need a permit."""

    def get_route_handler(self) -> _Handler:
        handle = super().get_route_handler()

        async def admitted(request: Request) -> Response:
            service = request.app.state.service
            permit = Permit(service.admission, service.check_key(request.headers))
            events = request.scope["events"] = Events()
            work = asyncio.ensure_future(run_admitted(handle, request, permit))
            begun = asyncio.ensure_future(events.begun.wait())
            try:
                await asyncio.wait({work, begun}, return_when="FIRST_COMPLETED")
            except asyncio.CancelledError:
                abandon(work, permit)
                raise
            finally:
                begun.cancel()
            if events.begun.is_set():
                return EventStream(events, work, permit, lambda error: answer_error(request, error))
            return _Sent(await work, permit)

        return admitted


def answer_error(request: Request, error: Exception) -> Response:
    """Returns the answer to an exception, and logs what is the server's fault."""
    asked = request.scope.get("asked")
    answer = from_exception(error, None if asked is None else asked.names)
    if answer.status_code == 500 or isinstance(error, (EngineError, WorkerError)):
        logger.error("failed", exc_info=error)
    return answer


async def run_admitted(handle: _Handler, request: Request, permit: Permit) -> Response:
    """Runs a handler until it answers, the client leaves, the deadline passes or the time to drain is over.

    A handler that is cut off keeps its permit until it has really ended, because it uses memory until then.

    Args:
        handle: Answers the request; it finds the permit in ``request.scope["permit"]``.
        request: The request, whose body has not been read.
        permit: A new permit. If the handler answers, it holds the answer, and the caller has it leave.

    Returns:
        The handler's answer.

    Raises:
        Refused: The body is compressed (415), the request was not admitted, or it was cut off (408, 503 or 504), or
            the client left (499, for the log: nobody reads it).
        Exception: Whatever the handler raises.
    """
    admission, settings = permit.admission, permit.admission.settings
    _check_coding(request.headers.get("content-encoding", ""))
    announced = request.headers.get("content-length", "")
    admission.check(int(announced) if announced.isdecimal() else 0)
    request.scope["permit"] = permit
    body = _Body(request.receive, permit)
    cut = False

    async def answer() -> Response:
        data = await body.read()
        if data is None:
            raise _left()
        permit.enter()
        return await handle(ReceivedRequest(request.scope, data))

    def ended(work: asyncio.Future[Response]) -> None:
        if cut or work.cancelled() or work.exception() is not None:
            permit.leave()
        else:
            permit.keep(len(work.result().body))

    work = asyncio.ensure_future(answer())
    work.add_done_callback(ended)
    waits = [asyncio.ensure_future(one.wait()) for one in (body.complete, body.left, body.dropped, admission.given_up)]
    gone = asyncio.ensure_future(body.gone())
    since = monotonic()
    try:
        limit = min(settings.body_timeout, settings.timeout)
        await asyncio.wait({work, *waits}, timeout=limit, return_when="FIRST_COMPLETED")
        if body.complete.is_set() and not work.done():
            limit, done = 0.0, set[asyncio.Future[Any]]()
            while not done and limit < permit.seconds:  # which grows once the pages are counted
                limit = permit.seconds
                rest = max(0.0, limit - (monotonic() - since))
                done, _ = await asyncio.wait({work, gone, *waits[1:]}, timeout=rest, return_when="FIRST_COMPLETED")
        if work.done() and not body.left.is_set():
            return work.result()
    except asyncio.CancelledError:
        cut = True
        abandon(work, permit)
        raise
    finally:
        cut = cut or not work.done()
        for task in (work, gone, *waits):
            task.cancel()
    raise _cut_off(permit, body, gone, limit)


def _left() -> Refused:
    return Refused(LEFT, "the client left before it had its answer")


def _cut_off(permit: Permit, body: _Body, gone: asyncio.Future[None], limit: float) -> Refused:
    """Returns why a request is cut off after ``limit`` seconds or before, and counts it."""
    admission = permit.admission
    if gone.done() or body.left.is_set():
        admission.rejected("client left")
        return _left()
    if admission.given_up.is_set():
        admission.rejected("draining")
        return Refused(503, "the server is shutting down and ran out of time for this request: use another server")
    if body.dropped.is_set():
        return Refused(408, "the body came so slowly that it gave way to others: send it again, and faster")
    admission.rejected("deadline")
    if not body.complete.is_set():
        return Refused(408, f"the body had not arrived after {limit:g} s: send it faster, or less of it")
    return Refused(504, f"no answer within {limit:g} s: rank fewer pages, or raise --timeout or --timeout-per-page")


def _check_coding(coding: str) -> None:
    """Raises Refused (415) for a compressed body, whose size would be known only after unpacking it."""
    if coding.strip().lower() not in ("", "identity"):
        message = f"the body is compressed (Content-Encoding: {coding[:100]}): send it as it is"
        raise Refused(415, message, headers={"Accept-Encoding": "identity"})


class _Body:
    """Reads a request's body, counts the bytes that arrive, and notices when the client leaves afterwards.

    Attributes:
        complete: Set when all of it has come.
        left: Set when the client left before.
        dropped: Set when it has to give way to others.
    """

    def __init__(self, receive: Receive, permit: Permit) -> None:
        self._receive = receive
        self._permit = permit
        self.complete = asyncio.Event()
        self.left = asyncio.Event()
        self.dropped = asyncio.Event()

    async def read(self) -> bytes | None:
        """Returns the whole body, or None if the client left before.

        Raises:
            Refused: It is too large (413), or there is no room for it (429).
        """
        permit, parts, arrived, more = self._permit, [], 0, True
        permit.begin(self.dropped.set)
        while more:
            message = await self._receive()
            if message["type"] != "http.request":
                self.left.set()
                return None
            part = message.get("body", b"")
            arrived += len(part)
            permit.admission.check_body(arrived)
            permit.hold(len(part))
            permit.progress(len(part))
            parts.append(part)
            more = message.get("more_body", False)
        permit.end()
        self.complete.set()
        return b"".join(parts)

    async def gone(self) -> None:
        """Returns when the client has disconnected after sending its whole body."""
        await self.complete.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


class _Sent(Response):
    """An answer that is handed out as the client reads it, and holds its permit until then."""

    def __init__(self, answer: Response, permit: Permit) -> None:
        super().__init__(answer.body, answer.status_code)
        self.raw_headers = answer.raw_headers
        self._permit = permit

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        begin_reading(self._permit)
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await hand_out(bytes(self.body), send, self._permit)
        finally:
            self._permit.leave()
