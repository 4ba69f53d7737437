"""What a request holds when its client leaves, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from ziprerank.serve import admission as admissions
from ziprerank.serve import exchange
from ziprerank.serve.admission import Admission, Permit
from ziprerank.serve.events import Events, EventStream
from ziprerank.serve.exchange import run_admitted
from ziprerank.serve.failures import Refused
from ziprerank.serve.settings import Settings


def request(messages: AsyncIterator[dict[str, Any]]) -> Request:
    return Request({"type": "http", "method": "POST", "path": "/", "headers": []}, messages.__anext__)


def test_a_client_that_leaves_in_its_body_leaves_nothing_behind() -> None:
    async def messages() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "http.request", "body": bytes(1000), "more_body": True}
        assert admission.held == 1000
        yield {"type": "http.disconnect"}

    async def handle(_: Request) -> Response:
        raise AssertionError("there is no whole body")

    async def run() -> None:
        with pytest.raises(Refused) as refused:
            await run_admitted(handle, request(messages()), Permit(admission))
        assert refused.value.status_code == 499

    admission = Admission(Settings())
    asyncio.run(run())
    assert (admission.requests, admission.held, admission._moving) == (0, 0, set())


def test_a_client_that_leaves_later_keeps_its_place_until_its_work_has_ended() -> None:
    async def run() -> None:
        working, may_end = asyncio.Event(), asyncio.Event()

        async def messages() -> AsyncIterator[dict[str, Any]]:
            yield {"type": "http.request", "body": b"x", "more_body": False}
            await working.wait()
            yield {"type": "http.disconnect"}

        async def handle(_: Request) -> Response:
            working.set()
            try:
                await asyncio.Event().wait()
            finally:  # as a decoder that does not end at once
                await may_end.wait()
            return Response()

        with pytest.raises(Refused):
            await run_admitted(handle, request(messages()), Permit(admission))
        await asyncio.sleep(0)
        assert (admission.requests, admission.held) == (1, 1)
        may_end.set()
        while admission.requests:
            await asyncio.sleep(0)
        assert admission.held == 0

    admission = Admission(Settings())
    asyncio.run(asyncio.wait_for(run(), 30))


def test_a_request_that_is_cancelled_leaves_whenever_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also between the end of its handler and the moment at which the answer is handed on."""

    async def run(handled: Callable[[Request], Coroutine[Any, Any, Response]], turns: int) -> bool:
        async def messages() -> AsyncIterator[dict[str, Any]]:
            yield {"type": "http.request", "body": bytes(1000), "more_body": False}
            await asyncio.Event().wait()

        async def handle(_: Request) -> Response:
            cancel(turns)
            return Response(b"x" * 100)

        def cancel(left: int) -> None:
            if left:
                asyncio.get_running_loop().call_soon(cancel, left - 1)
            else:
                task.cancel()

        monkeypatch.setattr(exchange.APIRoute, "get_route_handler", lambda _: handle)
        task = asyncio.ensure_future(handled(request(messages())))
        await asyncio.wait([task])
        await asyncio.sleep(0)
        return task.cancelled()

    async def alone(asked: Request) -> Response:
        return await run_admitted(exchange.APIRoute.get_route_handler(None), asked, Permit(admission))

    async def routed(asked: Request) -> Response:
        service = SimpleNamespace(admission=admission, check_key=lambda _: "")
        asked.scope["app"] = SimpleNamespace(state=SimpleNamespace(service=service))
        return await exchange.AdmittedRoute("/", lambda: None).get_route_handler()(asked)

    for handled, most in ((alone, 3), (routed, 4)):
        turns = 0
        admission = Admission(Settings())
        while asyncio.run(asyncio.wait_for(run(handled, turns), 30)):
            assert (turns, admission.requests, admission.held, admission._moving) == (turns, 0, 0, set())
            turns += 1
        assert turns >= most


PART = 1 << 16


class Reader:
    """A client that takes a second for each part of an answer's body, and stands still before the part ``stops``."""

    def __init__(self, permit: Permit, stops: int | None = None) -> None:
        self.now = 0.0
        self.seen: list[tuple[bool, float]] = []  # whether it is said to read, and when it last got on
        self.stopped = asyncio.Event()
        self._permit = permit
        self._stops = stops

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            if len(self.seen) == self._stops:
                self.stopped.set()
                await asyncio.Event().wait()
            self.seen.append((self._permit in self._permit.admission._moving, self._permit.moved))
            self.now += 1


def answer_in(kind: str, permit: Permit) -> Response:
    """An answer of somewhat more than three parts, whose ranking has ended."""
    answer = JSONResponse("x" * (3 * PART))
    permit.hold(len(answer.body))
    if kind == "json":
        return exchange._Sent(answer, permit)
    work = asyncio.get_running_loop().create_future()
    work.set_result(answer)
    return EventStream(Events(), work, permit, lambda _: Response())


@pytest.mark.parametrize("kind", ["json", "events"])
def test_how_a_client_gets_on_is_noted_part_by_part(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> list[tuple[bool, float]]:
        permit = Permit(admission)
        reader = Reader(permit)
        monkeypatch.setattr(admissions, "monotonic", lambda: reader.now)
        await answer_in(kind, permit)({}, asyncio.Event().wait, reader.send)  # type: ignore[arg-type]
        return reader.seen

    admission = Admission(Settings())
    seen = asyncio.run(asyncio.wait_for(run(), 60))
    assert seen == [(True, 0.0), (True, 1.0), (True, 2.0), (True, 3.0)]
    assert (admission.held, admission._moving) == (0, set())


@pytest.mark.parametrize("kind", ["json", "events"])
def test_an_answer_whose_client_stalls_gives_way(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        permit = Permit(admission)
        reader = Reader(permit, stops=2)
        monkeypatch.setattr(admissions, "monotonic", lambda: reader.now)
        task = asyncio.ensure_future(answer_in(kind, permit)({}, asyncio.Event().wait, reader.send))  # type: ignore[arg-type]
        await reader.stopped.wait()
        reader.now += 2
        assert not admission.reclaim(admission.settings.max_held_bytes, Permit(admission))
        reader.now += 1
        assert admission.reclaim(admission.settings.max_held_bytes, Permit(admission))
        await asyncio.wait([task])
        assert task.cancelled()

    admission = Admission(Settings())
    asyncio.run(asyncio.wait_for(run(), 60))
    assert (admission.held, admission._moving) == (0, set())


@pytest.mark.parametrize("how", ["it cannot be sent", "it is cancelled"])
def test_an_answer_in_events_that_ends_early_ends_its_ranking(how: str) -> None:
    async def run() -> None:
        work, begun = asyncio.get_running_loop().create_future(), asyncio.Event()

        async def send(_: Any) -> None:
            begun.set()
            if how == "it cannot be sent":
                raise OSError

        stream = EventStream(Events(), work, Permit(Admission(Settings())), lambda _: Response())
        task = asyncio.ensure_future(stream({}, asyncio.Event().wait, send))  # type: ignore[arg-type]
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])
        assert work.cancelled()

    asyncio.run(asyncio.wait_for(run(), 60))
