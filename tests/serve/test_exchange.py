"""What a request holds when its client leaves, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
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
