"""Gives freed memory back to the system, which the C library keeps otherwise.

Measured beside other work: after 32 unread answers of 13 MB 286 MiB stay in place of 526, and without page workers 160
in place of 421 after 16 pictures of 36 million pixels. With page workers, pictures leave 165 or 174 in the server.
"""

from __future__ import annotations

import asyncio
import ctypes
from concurrent.futures import Executor

_QUIET = 1.0  # seconds after a request; one that comes meanwhile could use the memory


class Trimmer:
    """Trims the heap once no request has ended for a moment. Use it from one event loop."""

    def __init__(self, workers: Executor) -> None:
        """Makes a trimmer that works in one of these ``workers``; with a C library other than glibc it does nothing."""
        self._workers = workers
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self._timer: asyncio.TimerHandle | None = None

    def soon(self) -> None:
        """Notes that a request has ended."""
        if self._timer is not None:
            self._timer.cancel()
        if self._trim is not None:
            self._timer = asyncio.get_running_loop().call_later(_QUIET, self._workers.submit, self._trim, 0)

    def close(self) -> None:
        """Drops what is still to be done; called before the workers end."""
        if self._timer is not None:
            self._timer.cancel()
