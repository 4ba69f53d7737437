"""The queue before the engine: one ranking at a time, in order of arrival; two requests never share a pass."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from threading import Event
from time import perf_counter
from typing import Generic, TypeVar

from ziprerank.profiling.meter import ProgressCallback

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Done(Generic[_T]):
    """The result of a job.

    Attributes:
        value: What the job returned.
        waited: Seconds that it waited for the engine.
        ran: Seconds that it ran.
    """

    value: _T
    waited: float
    ran: float


class EngineQueue:
    """The engine's thread and the jobs that wait for it. Use it from one event loop.

    The queue itself has no limit: ``Admission`` bounds the number of requests.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ziprerank-engine")
        self._waiting: deque[_Job] = deque()

    def __len__(self) -> int:
        """Returns the number of jobs that wait."""
        return len(self._waiting)

    async def run(
        self, work: Callable[[ProgressCallback, Event], _T], ahead: Callable[[], None], patience: float = math.inf
    ) -> Done[_T]:
        """Runs a job on the engine's thread.

        When the call is cancelled, a waiting job leaves the queue, and a running one ends at its next page or in the
        middle of its pass. The call returns only after that, so that the caller may close what the job used.

        Args:
            work: The job; it calls the given callback at every page and window, and ends soon once the event is set.
            ahead: Called when the job is next in line, to start preparing its pages.
            patience: Most seconds that the job may wait for one page while it has the engine.

        Returns:
            What ``work`` returned, and how long it waited and ran.

        Raises:
            Late: A page was not ready within ``patience``.
            Exception: Whatever ``work`` raises.
        """
        loop = asyncio.get_running_loop()
        job = _Job(ahead, patience)
        self._waiting.append(job)
        self._prepare_next()
        submitted = perf_counter()

        def run() -> Done[_T]:
            started = job.moved = perf_counter()
            loop.call_soon_threadsafe(self._leave, job)
            job.check(0, 0)
            value = work(job.check, job.stop)
            return Done(value, started - submitted, perf_counter() - started)

        try:
            # run in the request's context, so that log lines written there carry the request's id
            return await settled(self._thread.submit(copy_context().run, run), job.stop.set)
        finally:
            self._leave(job)

    async def close(self) -> None:
        """Drops the jobs that wait, and returns when the running one has ended."""
        await asyncio.to_thread(self._thread.shutdown, wait=True, cancel_futures=True)

    def _leave(self, job: _Job) -> None:
        if job in self._waiting:
            self._waiting.remove(job)
            self._prepare_next()

    def _prepare_next(self) -> None:
        if self._waiting:
            self._waiting[0].ahead()


async def settled(future: Future[_T], stop: Callable[[], None] | None = None) -> _T:
    """Waits for work in a thread, and on cancellation for its end.

    Args:
        future: The work. On cancellation it is dropped if it has not begun.
        stop: Called on cancellation, to end work that has begun; None lets it run to its end.

    Returns:
        The work's result.
    """
    result = asyncio.wrap_future(future)
    try:
        return await asyncio.shield(result)
    except asyncio.CancelledError:
        if stop is not None:
            stop()
        if not future.cancel():
            await asyncio.wait([result])
            if not result.cancelled():
                result.exception()  # marks it as retrieved: the caller gets the cancellation instead
        raise


class _Stopped(Exception):
    """Ends a job whose client is gone; it never leaves this module."""


class Late(Exception):
    """A job gave the engine back, since one of its pages is not ready; it may be run again later."""


class _Job:
    """A job in the queue, and the event that stops it."""

    def __init__(self, ahead: Callable[[], None], patience: float) -> None:
        self.ahead = ahead
        self.stop = Event()
        self.moved = 0.0  # when it last got on
        self._patience = patience
        self._done = 0

    def check(self, done: int, _total: int) -> None:
        """Ends the job if it has been stopped, or waits too long. A ranking calls this as its progress callback."""
        if self.stop.is_set():
            raise _Stopped
        now = perf_counter()
        if done != self._done:
            self._done, self.moved = done, now
        elif now - self.moved > self._patience:
            raise Late
