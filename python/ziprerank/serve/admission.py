"""Admission control: bounds the requests under way, their bodies and their time, and lets the server drain."""

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

_MOST_JSON = 1_000_000  # commas, brackets and colons; parsed JSON then takes under 0.2 GB besides its strings
_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Admission:
    """Counts the requests under way and the bytes that they hold. Use it from the event loop only.

    Attributes:
        settings: The service's limits.
        requests: Number of requests under way.
        held: Bytes of bodies and fetched files that they hold.
        draining: Whether the server is shutting down and accepts no more requests.
        given_up: Set when the time to drain is over.
        rejected: Called with the reason whenever a request is rejected or abandoned.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.requests = 0
        self.held = 0
        self.draining = False
        self.given_up = asyncio.Event()
        self.rejected: Callable[[str], None] = lambda _: None
        self._pace = 1.0  # engine seconds per request, smoothed; Retry-After is computed from it

    def enter(self, size: int) -> Permit:
        """Admits a request.

        Args:
            size: Bytes of its body as Content-Length declares them; 0 if it declares none.

        Returns:
            The request's permit, which must be left when the request has ended.

        Raises:
            Refused: The body is too large (413), too many requests are under way or too many bytes are held (429), or
                the server is shutting down (503).
        """
        if self.draining:
            self.rejected("draining")
            raise Refused(503, "the server is shutting down: use another server", headers=self.retry_after())
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
        """Raises Refused (413) for a body of more bytes than the limit."""
        if size > self.settings.max_body_bytes:
            self.rejected("body")
            most = self.settings.max_body_bytes
            raise Refused(413, f"a body of {size:,} bytes or more, at most {most:,}: send fewer or smaller pages")

    def no_room(self, alone: bool) -> Refused:
        """Returns the error for a request that would exceed the bytes held; ``alone``: it would do so by itself."""
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
        """Records that a request used the engine for ``seconds``."""
        self._pace += 0.2 * (seconds - self._pace)

    def retry_after(self) -> dict[str, str]:
        """Returns a Retry-After header with the time in which the requests under way should be done (1 to 60 s)."""
        return {"Retry-After": str(min(60, max(1, math.ceil(self.requests * self._pace))))}


class Permit:
    """The admission of one request, and the bytes that it holds."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._held = 0
        self._open = True

    def hold(self, size: int) -> None:
        """Reserves ``size`` more bytes for the request.

        Raises:
            Refused: The server would hold too many bytes: because of this request alone (413), or of all together
                (429).
        """
        admission = self._admission
        if admission.held + size > admission.settings.max_held_bytes:
            raise admission.no_room(alone=admission.held == self._held)
        self._held += size
        admission.held += size

    def hold_at_least(self, size: int) -> None:
        """Raises the request's reservation to ``size`` bytes if it is smaller. Raises Refused as ``hold`` does."""
        if size > self._held:
            self.hold(size - self._held)

    def leave(self) -> None:
        """Releases the place and the bytes; further calls do nothing."""
        if self._open:
            self._open = False
            self._admission.held -= self._held
            self._admission.requests -= 1


class AdmittedRoute(APIRoute):
    """A route whose requests need a permit; their bodies are read only after they got one."""

    def get_route_handler(self) -> _Handler:
        handle = super().get_route_handler()

        async def admitted(request: Request) -> Response:
            service = request.app.state.service
            service.check_key(request.headers.get("authorization"))
            return await run_admitted(handle, request, service.admission)

        return admitted


async def run_admitted(handle: _Handler, request: Request, admission: Admission) -> Response:
    """Runs a handler until it answers, the client leaves, the deadline passes or the time to drain is over.

    A handler that is cut off keeps its permit until it has really ended, because it uses memory until then.

    Args:
        handle: Answers the request; it finds the permit in ``request.scope["permit"]``.
        request: The request, whose body has not been read.
        admission: Limits and counts of the server.

    Returns:
        The handler's answer, or one of status 499 that nobody reads if the client left.

    Raises:
        Refused: The request was not admitted, or it was cut off (408, 503 or 504).
        Exception: Whatever the handler raises.
    """
    announced = request.headers.get("content-length", "")
    permit = admission.enter(int(announced) if announced.isdecimal() else 0)
    body = _Body(request.receive, admission, permit)
    request.scope["permit"] = permit
    work = asyncio.ensure_future(handle(_JsonRequest(request.scope, body)))

    def ended(work: asyncio.Future[Response]) -> None:
        permit.leave()
        if not work.cancelled():
            work.exception()  # marks it as retrieved in case nobody waits for the result any more

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
        return Response(status_code=499)  # for the log: the client is gone
    if given_up.done():
        admission.rejected("draining")
        raise Refused(503, "the server is shutting down and ran out of time for this request: use another server")
    admission.rejected("deadline")
    limit = f"{admission.settings.timeout:g} s"
    if not body.complete.is_set():
        raise Refused(408, f"the body had not arrived after {limit}: send it faster, or less of it")
    raise Refused(504, f"no answer within {limit}: rank fewer pages, or raise --timeout")


class _Body:
    """Wraps a request's ``receive``: counts the bytes that arrive, and notices when the client leaves afterwards."""

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
        """Returns when the client has disconnected after sending its whole body."""
        await self.complete.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


class _JsonRequest(Request):
    """A request whose JSON is read by a parser with a depth limit, which also rejects NaN and lone surrogates."""

    async def json(self) -> Any:
        body = await self.body()
        marks = sum(body.count(mark) for mark in (b",", b"[", b"{", b":"))
        if marks > _MOST_JSON:
            raise Refused(413, f"JSON with {marks:,} commas, brackets and colons, at most {_MOST_JSON:,}: send less")
        try:
            return from_json(body, allow_inf_nan=False, cache_strings="none")
        except ValueError as error:
            raise Refused(400, f"the body is not valid JSON: {error}") from None
