"""Bounds the connections of the service: their number, and how long each may keep the server waiting.

uvicorn itself has a deadline for idle connections only, and turns everybody away when there are too many. Here a
connection has a deadline whenever its client has the next move, and a new one takes the place of the one that has been
silent for longest among those of the address that has most. A connection whose request is being ranked is never closed
for another, and only ``Settings.queue`` of them are at a time, so that probes always find a place.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from ziprerank.serve.failures import answer
from ziprerank.serve.lingering import Lingering
from ziprerank.serve.settings import Settings

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState


QUIET = 1.0  # seconds of the drain for which a connection without a request stays, for one that is on its way
_CLOSE = (b"connection", b"close")


class Connections:
    """The open connections of one server. Use it from the event loop only.

    Attributes:
        draining: When the server began to drain (``loop.time``); None before. From then on every answer is the last one
            of its connection, and connections without a request are closed after a moment.
    """

    def __init__(self, settings: Settings, rejected: Callable[[str], None]) -> None:
        """Makes an empty table.

        Args:
            settings: Its limits.
            rejected: Called with the reason whenever a connection is closed to make room, or for its silence.
        """
        self._settings = settings
        self._rejected = rejected
        self.draining: float | None = None
        self._open: dict[Connection, None] = {}
        self._of = Counter[str]()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: Connection) -> None:
        """Counts a new connection, and closes another one, or this one, if there are too many."""
        address = connection.address
        self._open[connection] = None
        self._of[address] += 1
        if address and self._of[address] > self._settings.max_connections_per_address:
            self._make_room(connection, address)
        elif len(self._open) > self._settings.max_connections:
            self._make_room(connection, max(self._of, key=self._of.__getitem__))

    def remove(self, connection: Connection) -> None:
        """Forgets a connection; one that is not in the table does nothing."""
        if connection in self._open:
            del self._open[connection]
            self._of[connection.address] -= 1
            if not self._of[connection.address]:
                del self._of[connection.address]

    def sweep(self) -> None:
        """Closes every connection whose deadline has passed."""
        for connection in list(self._open):
            reason = connection.overdue(self._settings)
            if reason is not None:
                self._rejected(reason)
                self.remove(connection)

    def _make_room(self, new: Connection, address: str) -> None:
        rivals = [one for one in self._open if one.address == address and one is not new]
        victim = min((one for one in rivals if one.spare), key=lambda one: one.order, default=new)
        self._rejected("connections")
        self.remove(victim)
        victim.end(_FULL if victim is new else None)


class Connection(H11Protocol):
    """uvicorn's connection, with deadlines. ``bind`` makes the class that a server uses.

    Attributes:
        table: The server's connections.
        address: The client's; empty at a Unix domain socket, where no client has one.
    """

    table: Connections

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.address = ""
        self._since = self.loop.time()  # when the client got the next move
        self._begun = False  # whether bytes of the next request have come
        self._unread: float | None = None  # when the client began not to read its answer

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._closer = Lingering(transport, self._sending)
        super().connection_made(self._closer)  # type: ignore[arg-type]
        self.address = self.client[0] if self.client else ""
        self.table.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.table.remove(self)
        super().connection_lost(exc)
        self._closer.let_go()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._idle and not self._begun:
            self._begun, self._unread = True, None
            if self.cycle is not None:  # of a further request; the first one's time began with the connection
                self._since = self.loop.time()
        super().data_received(data)
        self._say_last()

    def shutdown(self) -> None:
        """Notes that the server drains; ``overdue`` closes the connection if no request comes."""
        self._say_last()

    def on_response_complete(self) -> None:
        self._since, self._begun = self.loop.time(), False
        super().on_response_complete()

    def pause_writing(self) -> None:
        if self._unread is None:
            self._unread = self.loop.time()
        super().pause_writing()

    @property
    def spare(self) -> bool:
        """Whether the client has the next move: to send a request, or to read an answer."""
        return self._idle or self.cycle.more_body or self._unread is not None

    @property
    def order(self) -> tuple[bool, float]:
        """Connections are closed for others in this order: those without a request first, the oldest first."""
        return not self._idle, self._since

    def overdue(self, settings: Settings) -> str | None:
        """Ends the connection if the client has kept the server waiting for too long, and returns the reason."""
        now = self.loop.time()
        draining = self.table.draining
        if self._closer.lingers and self.transport.get_write_buffer_size() == 0:
            # with TLS the client cannot be told that nothing more comes, so it is not given as long
            limit = settings.body_timeout if self.transport.can_write_eof() else settings.header_timeout
            if now - self._since > limit:
                self.transport.abort()
                return "body"
        elif self.transport.is_closing() or self.transport.get_write_buffer_size() > 0:
            self._unread = self._unread or now
            if now - self._unread > settings.answer_timeout:
                self.transport.abort()
                return "answer not read"
        elif self._idle:
            self._unread = None
            answered = self.conn.their_state is h11.SEND_BODY  # before the body had come, whose rest is thrown away
            limit = settings.body_timeout if answered else settings.header_timeout
            if (self._begun or self.cycle is None) and now - self._since > limit:
                self.end(_SLOW if self._begun else None)
                return "header"
            if draining is not None and not answered and now - max(draining, self._since) > QUIET:
                self.end(_DRAINING if self._begun else None)
                return "draining" if self._begun else None
        else:
            self._unread = None  # of an answer that takes its time the client has read all there is so far
        return None

    def end(self, last: bytes | None) -> None:
        """Closes the connection, after this answer if there is one to give."""
        if last is None or not self._idle or self.conn.our_state is not h11.IDLE:
            self.transport.abort()
        else:
            self.transport.write(last)
            self.transport.close()

    def _say_last(self) -> None:
        """Has the answer under way say that it is the last one, if the server drains."""
        cycle = self.cycle
        if self.table.draining is not None and not self._idle and cycle.keep_alive:
            cycle.keep_alive = False
            if _CLOSE not in cycle.default_headers:
                cycle.default_headers = [*cycle.default_headers, _CLOSE]

    def _sending(self) -> bool:
        return self.conn.their_state in (h11.SEND_BODY, h11.ERROR)

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete


def bind(table: Connections) -> type[Connection]:
    """Returns the class of a server whose connections are in ``table``, as uvicorn's option ``http`` takes it."""
    return type("BoundConnection", (Connection,), {"table": table})


def _raw(status: int, reason: str, message: str) -> bytes:
    body = bytes(answer(status, message).body)
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


_SLOW = _raw(408, "Request Timeout", "the request's header had not arrived in time: send it faster")
_FULL = _raw(503, "Service Unavailable", "too many connections are open: close some, or try again later")
_DRAINING = _raw(503, "Service Unavailable", "the server is shutting down: use another server")
