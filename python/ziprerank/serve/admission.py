"""Who gets in: a bounded number of requests with bounded bodies, each with a deadline, until the server drains."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive

from ziprerank.serve.failures import Refused
from ziprerank.serve.settings import Settings

_MOST_JSON = 1_000_000  # commas, brackets and colons: what parsed JSON takes beside its strings stays under 0.2 GB
_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Admission:
    """Counts requests and the bytes they hold. Use from the event loop only."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.requests = 0
        self.held = 0
        self.draining = False
        self.given_up = asyncio.Event()  # set when the time to drain is over
        self.rejected: Callable[[str], None] = lambda _: None  # told why somebody was turned away
        self._pace = 1.0  # seconds a request, smoothed: what Retry-After is made of

    def enter(self, size: int) -> Permit:
        """A place for a request that announces ``size`` bytes. Raises Refused: 413, 429 or 503."""
        if self.draining:
            self.rejected("draining")
            raise Refused(503, "the server is shutting down: ask another one", headers=self.retry_after())
        self.check_body(size)
        if self.requests >= self.settings.queue:
            self.rejected("queue")
            message = f"{self.requests} requests are under way, at most {self.settings.queue}: try again later"
            raise Refused(429, message, headers=self.retry_after())
        permit = Permit(self)
        permit.hold(size)
        self.requests += 1
        return permit

    def check_body(self, size: int) -> None:
        if size > self.settings.max_body_bytes:
            self.rejected("body")
            most = self.settings.max_body_bytes
            raise Refused(413, f"a body of {size:,} bytes or more, at most {most:,}: send fewer or smaller pages")

    def no_room(self, alone: bool) -> Refused:
        self.rejected("memory")
        limit = self.settings.max_held_bytes
        if alone:
            return Refused(413, f"the request's files have over {limit:,} bytes together: send fewer or smaller pages")
        return Refused(
            429,
            f"requests under way hold {self.held:,} of {limit:,} bytes: try again later",
            kind="memory_full",
            headers=self.retry_after(),
        )

    def took(self, seconds: float) -> None:
        """A request had the engine for that long."""
        self._pace += 0.2 * (seconds - self._pace)

    def retry_after(self) -> dict[str, str]:
        """The header that says when those who are under way may be done."""
        return {"Retry-After": str(min(60, max(1, math.ceil(self.requests * self._pace))))}


class Permit:
    """One request's place and the bytes that it holds."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._held = 0
        self._open = True

    def hold(self, size: int) -> None:
        """Raises Refused when the server would hold too much: 413 when it is this request alone, else 429."""
        admission = self._admission
        if admission.held + size > admission.settings.max_held_bytes:
            raise admission.no_room(alone=admission.held == self._held)
        self._held += size
        admission.held += size

    def hold_at_least(self, size: int) -> None:
        if size > self._held:
            self.hold(size - self._held)

    def leave(self) -> None:
        """Gives everything back; a second time it does nothing."""
        if self._open:
            self._open = False
            self._admission.held -= self._held
            self._admission.requests -= 1


class AdmittedRoute(APIRoute):
    """A route whose requests need a place; the body is read only once they have it."""

    def get_route_handler(self) -> _Handler:
        handle = super().get_route_handler()

        async def admitted(request: Request) -> Response:
            service = request.app.state.service
            service.check_key(request.headers.get("authorization"))
            return await run_admitted(handle, request, service.admission)

        return admitted


async def run_admitted(handle: _Handler, request: Request, admission: Admission) -> Response:
    """Runs the handler until it answers, the client leaves, the deadline passes or the server gives up draining.

    Raises Refused, and what the handler raises. A handler that is cut off keeps its place until it has really ended:
    until then it still takes memory.
    """
    announced = request.headers.get("content-length", "")
    permit = admission.enter(int(announced) if announced.isdecimal() else 0)
    body = _Body(request.receive, admission, permit)
    request.scope["permit"] = permit
    work = asyncio.ensure_future(handle(_JsonRequest(request.scope, body)))

    def ended(work: asyncio.Future[Response]) -> None:
        permit.leave()
        if not work.cancelled():
            work.exception()  # seen, where nobody waits for the result any more

    work.add_done_callback(ended)
    gone = asyncio.ensure_future(body.gone())
    given_up = asyncio.ensure_future(admission.given_up.wait())
    try:
        await asyncio.wait({work, gone, given_up}, timeout=admission.settings.timeout, return_when="FIRST_COMPLETED")
        if work.done():
            return work.result()
    finally:
        for task in (work, gone, given_up):
            task.cancel()
    if gone.done():
        admission.rejected("client left")
        return Response(status_code=499)  # nobody reads it; the log does
    if given_up.done():
        admission.rejected("draining")
        raise Refused(503, "the server is shutting down and ran out of time for this request: ask another one")
    admission.rejected("deadline")
    limit = f"{admission.settings.timeout:g} s"
    if not body.complete.is_set():
        raise Refused(408, f"the body had not arrived after {limit}: send it faster, or less of it")
    raise Refused(504, f"no answer within {limit}: rank fewer pages, or raise --timeout")


class _Body:
    """``receive`` of a request: counts what arrives, and tells when the client leaves after it."""

    def __init__(self, receive: Receive, admission: Admission, permit: Permit) -> None:
        self._receive = receive
        self._admission = admission
        self._permit = permit
        self._arrived = 0
        self.complete = asyncio.Event()

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._arrived += len(message.get("body", b""))
            self._admission.check_body(self._arrived)
            self._permit.hold_at_least(self._arrived)
            if not message.get("more_body", False):
                self.complete.set()
        return message

    async def gone(self) -> None:
        await self.complete.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


class _JsonRequest(Request):
    """Reads JSON by a parser with a depth limit, which also refuses NaN and half surrogates."""

    async def json(self) -> Any:
        body = await self.body()
        marks = sum(body.count(mark) for mark in (b",", b"[", b"{", b":"))
        if marks > _MOST_JSON:
            raise Refused(413, f"JSON with {marks:,} commas, brackets and colons, at most {_MOST_JSON:,}: send less")
        try:
            return from_json(body, allow_inf_nan=False, cache_strings="none")
        except ValueError as error:
            raise Refused(400, f"the body is not valid JSON: {error}") from None
