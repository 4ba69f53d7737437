"""Admission control: bounds the requests under way and what they hold, and lets the server drain.

A request gets a place once its body has come, and the bytes of bodies and answers count as they come. If there is no
room left, those give way whose clients have not sent or read anything for a while.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from time import monotonic

from ziprerank.serve.failures import Refused
from ziprerank.serve.settings import Settings

_STALLED = 2.0  # seconds without progress after which a body or an answer gives way to others
_PROGRESS = 1 << 16  # bytes that count as progress


class Admission:
    """Counts the requests under way and the bytes that they hold. Use it from the event loop only.

    Attributes:
        settings: The service's limits.
        requests: Number of requests under way.
        held: Bytes of bodies, fetched files and answers that are held.
        draining: Whether the server is shutting down and accepts no more requests.
        given_up: Set when the time to drain is over.
        rejected: Called with the reason whenever a request is rejected or abandoned.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.requests = 0
        self.held = 0
        self.draining = False
        self.given_up = asyncio.Event()
        self.rejected: Callable[[str], None] = lambda _: None
        self._pace = 1.0  # engine seconds per request, smoothed; Retry-After is computed from it
        self._moving: set[Permit] = set()  # those whose clients send a body or read an answer

    def check(self, announced: int) -> None:
        """Refuses what can be refused by a request's header.

        Args:
            announced: Bytes of its body as Content-Length declares them; 0 if it declares none.

        Raises:
            Refused: The body is too large (413), too many requests are under way (429), or the server is shutting down
                (503).
        """
        if self.draining:
            self.rejected("draining")
            raise Refused(503, "the server is shutting down: use another server", headers=self.retry_after())
        self.check_body(announced)
        if self.requests >= self.settings.queue:
            self.rejected("queue")
            message = f"{self.requests} requests are under way, at most {self.settings.queue}: try again later"
            raise Refused(429, message, headers=self.retry_after())

    def check_body(self, size: int) -> None:
        """Raises Refused (413) for a body of more bytes than the limit."""
        if size > self.settings.max_body_bytes:
            self.rejected("body")
            most = self.settings.max_body_bytes
            raise Refused(413, f"a body of {size:,} bytes or more, at most {most:,}: send fewer or smaller pages")

    def no_room(self, alone: bool) -> Refused:
        """Returns the error for a request that would exceed the bytes held; ``alone``: it would do so by itself."""
        self.rejected("memory")
        limit = self.settings.max_held_bytes
        if alone:
            message = f"the request and its answer have over {limit:,} bytes: send fewer or smaller pages"
            return Refused(413, message)
        return Refused(
            429,
            f"requests under way hold {self.held:,} of {limit:,} bytes: try again later",
            kind="memory_full",
            headers=self.retry_after(),
        )

    def reclaim(self, size: int, by: Permit) -> bool:
        """Ends transfers that have stalled, longest first, until ``by`` can hold ``size`` bytes more.

        Returns:
            Whether it can.
        """
        now = monotonic()
        stalled = [one for one in self._moving if one is not by and now - one.moved > _STALLED]
        for one in sorted(stalled, key=lambda one: one.moved):
            if self.held + size <= self.settings.max_held_bytes:
                break
            self.rejected("stalled")
            one.drop()
        return self.held + size <= self.settings.max_held_bytes

    def took(self, seconds: float) -> None:
        """Records that a request used the engine for ``seconds``."""
        self._pace += 0.2 * (seconds - self._pace)

    def retry_after(self) -> dict[str, str]:
        """Returns a Retry-After header with the time in which the requests under way should be done (1 to 60 s)."""
        return {"Retry-After": str(min(60, max(1, math.ceil(self.requests * self._pace))))}


class Permit:
    """The admission of one request, the bytes that it holds, and the time that it has.

    Attributes:
        sender: Whose request it is, as ``Service.check_key`` names them.
        seconds: Most seconds from the request's header to its answer.
        moved: When the client last sent or read a good part of a body or an answer (``time.monotonic``).
    """

    def __init__(self, admission: Admission, sender: str = "") -> None:
        self.admission = admission
        self.sender = sender
        self.seconds = admission.settings.timeout
        self.moved = monotonic()
        self._held = 0
        self._placed = False
        self._progress = 0
        self._drop: Callable[[], object] | None = None

    def enter(self) -> None:
        """Takes one of the places of requests under way. Raises Refused as ``Admission.check`` does."""
        self.admission.check(0)
        self.admission.requests += 1
        self._placed = True

    def hold(self, size: int) -> None:
        """Reserves ``size`` more bytes for the request.

        Raises:
            Refused: The server would hold too many bytes: because of this request alone (413), or of all together
                (429).
        """
        admission = self.admission
        if admission.held + size > admission.settings.max_held_bytes and not admission.reclaim(size, self):
            raise admission.no_room(alone=admission.held == self._held)
        self._held += size
        admission.held += size

    def allow(self, pages: int) -> None:
        """Gives the request the time that so many pages need."""
        self.seconds = max(self.seconds, self.admission.settings.seconds_for(pages))

    def begin(self, drop: Callable[[], object]) -> None:
        """Notes that the client begins to send or read. ``drop`` is called if it stalls and others need the room."""
        self._drop, self._progress, self.moved = drop, 0, monotonic()
        self.admission._moving.add(self)

    def progress(self, size: int) -> None:
        """Notes that the client has sent or read ``size`` bytes; a trickle is no progress."""
        self._progress += size
        if self._progress >= _PROGRESS:
            self._progress, self.moved = 0, monotonic()

    def end(self) -> None:
        """Notes that the client has sent or read everything."""
        self.admission._moving.discard(self)
        self._drop = None

    def drop(self) -> None:
        """Ends what the client sends or reads, and releases its bytes."""
        drop = self._drop
        self.leave()
        if drop is not None:
            drop()

    def keep(self, size: int) -> None:
        """Releases the place, and all bytes but ``size``, those of the answer."""
        if self._placed:
            self._placed = False
            self.admission.requests -= 1
        self.admission.held += size - self._held
        self._held = size

    def leave(self) -> None:
        """Releases the place and the bytes; further calls do nothing."""
        self.end()
        self.keep(0)
