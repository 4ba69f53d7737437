"""One engine pass at a time, first come first served; two requests never share a pass."""

from __future__ import annotations

import asyncio
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
    """What a job returned, and the seconds that it waited and ran."""

    value: _T
    waited: float
    ran: float


class EngineQueue:
    """The engine's thread and the jobs that wait for it; who may join is Admission's matter. Use from one loop."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ziprerank-engine")
        self._waiting: deque[_Job] = deque()

    def __len__(self) -> int:
        """Jobs that wait."""
        return len(self._waiting)

    async def run(self, work: Callable[[ProgressCallback], _T], ahead: Callable[[], None]) -> Done[_T]:
        """Runs ``work`` on the engine's thread; ``ahead`` is called once it is the next to run, to prepare pages.

        Cancelled, a waiting job leaves the queue and a running one ends at its next page or window; only then does
        this return, so that the caller may close what the job used.
        """
        loop = asyncio.get_running_loop()
        job = _Job(ahead)
        self._waiting.append(job)
        self._prepare_next()
        submitted = perf_counter()

        def run() -> Done[_T]:
            started = perf_counter()
            loop.call_soon_threadsafe(self._leave, job)
            job.check(0, 0)
            value = work(job.check)
            return Done(value, started - submitted, perf_counter() - started)

        try:
            # in the request's context, so that what is logged there carries its id
            return await settled(self._thread.submit(copy_context().run, run), job.stop.set)
        finally:
            self._leave(job)

    async def close(self) -> None:
        """Waits for the job that runs; those that wait are dropped."""
        await asyncio.to_thread(self._thread.shutdown, wait=True, cancel_futures=True)

    def _leave(self, job: _Job) -> None:
        if job in self._waiting:
            self._waiting.remove(job)
            self._prepare_next()

    def _prepare_next(self) -> None:
        if self._waiting:
            self._waiting[0].ahead()


async def settled(future: Future[_T], stop: Callable[[], None] | None = None) -> _T:
    """A thread's result. Cancelled, it drops work that has not begun; else it calls ``stop`` and waits for the end."""
    result = asyncio.wrap_future(future)
    try:
        return await asyncio.shield(result)
    except asyncio.CancelledError:
        if stop is not None:
            stop()
        if not future.cancel():
            await asyncio.wait([result])
            if not result.cancelled():
                result.exception()  # seen: the caller hears of the cancellation instead
        raise


class _Stopped(Exception):
    """Ends a job whose client is gone; never leaves this module."""


class _Job:
    def __init__(self, ahead: Callable[[], None]) -> None:
        self.ahead = ahead
        self.stop = Event()

    def check(self, _done: int, _total: int) -> None:
        if self.stop.is_set():
            raise _Stopped
