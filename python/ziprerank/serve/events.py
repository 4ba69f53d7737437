"""Answers in events (text/event-stream): how far the ranking is, and then what it would have answered without them.

The status is sent before the ranking has its turn, so what is wrong with the request itself is answered as ever, and
what fails later is an event. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ziprerank.profiling.meter import ProgressCallback, StepCount
from ziprerank.serve.admission import Permit
from ziprerank.serve.dialects.answers import WARNINGS_HEADER
from ziprerank.serve.failures import LEFT, Refused
from ziprerank.serve.handing import abandon, begin_reading, hand_out
from ziprerank.serve.tracing import note_status

EVENT_STREAM = "text/event-stream"
HEARTBEAT = 15.0  # seconds without an event after which a comment is sent; proxies close after 60 or so
_HEADERS = {
    "Cache-Control": "no-cache",  # no proxy may keep or transform it
    "X-Accel-Buffering": "no",  # nginx hands each event on at once
}
_STILL = b": the ranking goes on\n\n"


def wants_events(stream: bool | None, accept: str) -> bool:
    """Returns whether a request asks for events: by its field ``stream``, or if it says nothing there, by Accept.

    A client that also accepts JSON gets JSON.
    """
    if stream is not None:
        return stream
    types = {one.partition(";")[0].strip().lower() for one in accept.split(",")}
    return EVENT_STREAM in types and "application/json" not in types


class Events:
    """What a request's ranking tells of itself. Use it from the event loop; ``told`` from the ranking's thread.

    Attributes:
        begun: Set when the answer is to begin, whatever becomes of the ranking.
    """

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._told: dict[str, int] = {}

    def following(self, check: ProgressCallback) -> ProgressCallback:
        """Returns a progress callback that calls ``check`` and tells of each step."""

        def follow(done: StepCount, total: StepCount) -> None:
            check(done, total)
            self.told(done, total)

        return follow

    def told(self, done: StepCount, total: StepCount) -> None:
        """Takes how far the ranking is, once a step is done: before, nobody knows what the first stage leaves."""
        if done:
            self._loop.call_soon_threadsafe(self._take, done, total)

    def _take(self, done: StepCount, total: StepCount) -> None:
        told = self._told
        if told and (done.pages < told["pages_done"] or done.passes < told["passes_done"]):
            return  # the ranking had given the engine back, and repeats what has been told
        now = {"pages_done": done.pages, "pages": total.pages, "passes_done": done.passes, "passes": total.passes}
        if now != told:
            self._told = now
            self._changed.set()

    async def next(self, work: asyncio.Future[Any]) -> bytes:
        """Returns the next event, a comment if there is none for a while, or nothing when the work has ended.

        A client that reads slowly misses what has been overtaken.
        """
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({work, changed}, timeout=HEARTBEAT, return_when="FIRST_COMPLETED")
        finally:
            changed.cancel()
        if self._changed.is_set():
            self._changed.clear()
            return _event("progress", json.dumps(self._told).encode())
        return b"" if work.done() else _STILL


class EventStream(Response):
    """An answer that is sent while its ranking runs, and holds the request's permit until then."""

    media_type = EVENT_STREAM

    def __init__(
        self,
        events: Events,
        work: asyncio.Future[Response],
        permit: Permit,
        refuse: Callable[[Exception], Response],
    ) -> None:
        """Makes an answer that has begun.

        Args:
            events: What the ranking tells.
            work: The ranking; it is cancelled if the answer cannot be sent.
            permit: The request's. Work that is cut off keeps it until it has ended.
            refuse: Makes the answer to an exception.
        """
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._events, self._work, self._permit, self._refuse = events, work, permit, refuse

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        work = self._work

        async def tell(part: bytes) -> None:
            await send({"type": "http.response.body", "body": part, "more_body": True})

        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            while part := await self._events.next(work):
                await tell(part)
            if (last := await self._last(tell)) is not None:
                await hand_out(last, send, self._permit)
        finally:
            abandon(work, self._permit)

    async def _last(self, tell: Callable[[bytes], Awaitable[None]]) -> bytes | None:
        """Returns the last event; None if the client left. The permit holds an answer while the client reads it."""
        name = "result"
        try:
            answer = await self._work
            begin_reading(self._permit)
        except Exception as error:  # the client gets what it would have got as an answer of its own
            if isinstance(error, Refused) and error.status_code == LEFT:
                note_status(LEFT)
                return None
            name, answer = "error", self._refuse(error)
            note_status(answer.status_code)
        if WARNINGS_HEADER in answer.headers:  # of APIs whose answers have no place for them
            await tell(_event("warnings", answer.headers[WARNINGS_HEADER].encode()))
        return _event(name, bytes(answer.body))


def _event(name: str, data: bytes) -> bytes:
    """Returns an event whose data is JSON, which has no line breaks."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)


def event_schema() -> Mapping[str, Any]:
    """Returns how the answer is described beside JSON, as OpenAPI's ``content`` has it."""
    text = (
        "With `stream`: events `progress` (`pages_done`, `pages`, `passes_done`, `passes`), then `result` with the "
        "JSON of an answer without it, or `error` with that of an error."
    )
    return {EVENT_STREAM: {"schema": {"type": "string", "description": text}}}
