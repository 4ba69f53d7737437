"""Paths as clients and proxies write them: below a prefix, for proxies that serve other things too, or with a slash."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ziprerank.errors import InvalidInput


class Prefixed:
    """ASGI middleware that takes paths with and without the prefix: proxies differ in whether they strip it."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        """Wraps an application.

        Args:
            app: The application, which finds the prefix as ASGI's ``root_path``.
            prefix: Such as ``/ranker``.
        """
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == self._prefix:  # the page's own links are relative
            await RedirectResponse(f"{self._prefix}/")(scope, receive, send)
        else:
            path = scope["path"]
            whole = path if path.startswith(f"{self._prefix}/") else self._prefix + path
            await self._app({**scope, "root_path": self._prefix, "path": whole}, receive, send)


class EndingSlash:
    """ASGI middleware that takes a path with a slash behind it for the path itself.

    Starlette would redirect, to an address that it makes from what it sees: behind a proxy with TLS that is http.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        prefix = scope.get("root_path", "")
        path = scope.get("path", "").removeprefix(prefix)
        if scope["type"] == "http" and path.endswith("/") and path != "/":
            scope = {**scope, "path": f"{prefix}{path.rstrip('/') or '/'}"}
        await self._app(scope, receive, send)


def check_prefix(prefix: str, paths: Iterable[str]) -> None:
    """Checks that a path below the prefix cannot be mistaken for one without it. Raises InvalidInput."""
    for path in paths:
        if f"{path}/".startswith(f"{prefix}/"):
            raise InvalidInput(f"root_path {prefix!r}: the service has a path {path} of its own: choose another prefix")
