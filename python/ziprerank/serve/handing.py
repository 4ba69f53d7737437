"""Hands an answer's bytes to the connection as the client reads them, while the request's permit holds them."""

from __future__ import annotations

import asyncio

from starlette.responses import Response
from starlette.types import Send

from ziprerank.serve.admission import Permit

_PART = 1 << 16  # bytes handed to the connection at a time, which waits while the client does not read


def begin_reading(permit: Permit) -> None:
    """Notes that the client begins to read; this task is cancelled if it stalls and others need the room."""
    task = asyncio.current_task()
    assert task is not None
    permit.begin(task.cancel)


async def hand_out(body: bytes, send: Send, permit: Permit) -> None:
    """Sends the rest of an answer, and notes how the client gets on with it.

    Args:
        body: All that is still to be sent.
        send: Of ASGI; what begins the answer has been sent.
        permit: The request's.
    """
    whole = memoryview(body)
    for at in range(0, max(1, len(whole)), _PART):
        part = bytes(whole[at : at + _PART])
        await send({"type": "http.response.body", "body": part, "more_body": at + _PART < len(whole)})
        permit.progress(len(part))


def abandon(work: asyncio.Future[Response], permit: Permit) -> None:
    """Ends a request's work, or has its permit leave if it has an answer. Work that is cut off keeps it until its end.

    Args:
        work: Has the permit leave itself when it ends without an answer, as ``run_admitted`` does.
        permit: The request's.
    """
    if not work.done():
        work.cancel()
    elif not work.cancelled() and work.exception() is None:
        permit.leave()
