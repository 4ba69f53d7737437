"""Keeps web pages of other sites out: middleware that checks Host and Origin, and the headers of our own pages.

A browser sends requests to this machine for any web page that asks. It says which page by the Origin header, and a page
whose own name was made to resolve to this machine (DNS rebinding) shows by the Host header.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ziprerank.serve.failures import Refused, from_exception

_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


class OtherSites:
    """ASGI middleware that refuses requests under foreign names (421) and from web pages of other sites (403)."""

    def __init__(self, app: ASGIApp, hosts: Collection[str], origins: Collection[str]) -> None:
        """Wraps an application.

        Args:
            app: The application.
            hosts: Names in the Host header, with any port; empty allows any name.
            origins: Origins other than the server's own; ``*`` allows any.
        """
        self._app = app
        self._hosts = {host.lower() for host in hosts}
        self._origins = {origin.lower().rstrip("/") for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._refuse(Headers(scope=scope)) if scope["type"] == "http" else None
        await (self._app if refused is None else from_exception(refused))(scope, receive, send)

    def _refuse(self, headers: Headers) -> Refused | None:
        host = headers.get("host", "").lower()
        if self._hosts and _name(host) not in self._hosts:
            message = f"host {host[:100]!r} is not a name of this server: ask its operator for --allowed-host"
            return Refused(421, message)
        origin = headers.get("origin", "").lower()
        own = origin.partition("://")[2]
        if origin and own != host and not self._origins & {"*", origin}:
            message = f"web pages of {origin[:100]!r} may not call this server: ask its operator for --cors-origin"
            return Refused(403, message)
        return None


def page_headers(html: str = "") -> dict[str, str]:
    """Returns the headers of a web page: it loads from this server only, is shown in no frame, and tells no address.

    Pictures of pages are data URLs.

    Args:
        html: A page with scripts and styles of its own, which are allowed besides files.
    """
    own = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in _SCRIPT.findall(html)]
    scripts = " ".join(["'self'", *(f"'sha256-{digest}'" for digest in own)])
    styles = "'self' 'unsafe-inline'" if html else "'self'"
    return {
        "Content-Security-Policy": f"default-src 'none'; script-src {scripts}; style-src {styles}; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
    }


def _name(host: str) -> str:
    """Returns the name in a Host header without its port and brackets; empty where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
