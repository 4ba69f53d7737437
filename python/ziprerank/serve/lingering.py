"""Closes connections so that their clients get to read the last answer.

A socket that is closed while bytes of the client lie unread in it is reset, and a reset discards what the client has
not read yet. So a connection whose client may still send is closed for writing first, and what comes is thrown away
until the client closes its end or a deadline passes (RFC 9112, section 9.6).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class Lingering:
    """A transport whose ``close`` waits for the client while it may still send. Anything else is the transport's.

    Attributes:
        lingers: Whether the connection is closed for writing, and waits for its client.
    """

    def __init__(self, transport: asyncio.Transport, sending: Callable[[], bool]) -> None:
        """Wraps a transport; ``sending`` tells whether its client may still send a part of a request."""
        self.lingers = False
        self._transport = transport
        self._sending = sending

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Returns whether nothing more can be written; what still comes is to be thrown away."""
        return self.lingers or self._transport.is_closing()

    def close(self) -> None:
        """Closes the connection after what was written, at once or when the client closes its end."""
        if self.is_closing():
            return
        if not self._sending():
            self._transport.close()
            return
        self.lingers = True
        try:
            if self._transport.can_write_eof():  # not with TLS, where the client closes because the answer says so
                self._transport.write_eof()
            self._transport.resume_reading()
        except OSError:  # the client has reset the connection
            self._transport.abort()

    def let_go(self) -> None:
        """Drops ``sending`` when the connection is lost: else its protocol, and a body with it, would wait for gc."""
        self._sending = lambda: False
