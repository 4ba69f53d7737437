"""A client of an application in this process, which leaves when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.types import ASGIApp


async def ask_and_leave(
    app: ASGIApp, path: str, content_type: str, body: bytes, leaves: Callable[[], Awaitable[object]]
) -> list[dict[str, Any]]:
    """Posts a body, and disconnects when ``leaves`` returns. Returns the messages of the answer."""
    sent: list[dict[str, Any]] = []

    async def messages() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "http.request", "body": body, "more_body": False}
        await leaves()
        yield {"type": "http.disconnect"}
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", content_type.encode()), (b"host", b"testserver")]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "http_version": "1.1"}
    await app({**scope, "headers": headers, "state": {}}, messages().__anext__, send)
    return sent
