"""What a request holds when its client leaves, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from ziprerank.serve import exchange
from ziprerank.serve.admission import Admission, Permit
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
