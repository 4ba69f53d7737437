"""The page workers of this process, which all rerankers share: which of them gets a page, and when one is started."""

from __future__ import annotations

import atexit
import functools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field

from ziprerank.errors import WorkerError
from ziprerank.inputs.workers.channel import Ended, Message
from ziprerank.inputs.workers.limits import PageLimits
from ziprerank.inputs.workers.worker import PageWorker
from ziprerank.runtime.threads import stand_still

GROW_SECONDS = 0.6  # a page that waits longer gets a worker of its own, whose start takes 0.2 s of a processor
STUCK_SECONDS = 2.0  # a page that takes longer does not count, so that other pages go on
MOST_STUCK = 8  # workers beyond the bound for that reason


class Failed(Exception):
    """A worker gave no reply. ``reason`` says why, for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Interrupted(Exception):
    """The request was ended by ``Interrupt.set``."""


class Interrupt:
    """Ends the requests that are made within ``with`` blocks, in any thread: running ones now, and all later ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[PageWorker] = set()
        self.is_set = False

    def set(self) -> None:
        """Kills the workers of the requests under way."""
        with self._lock:
            self.is_set = True
            for worker in self._running:
                worker.kill()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Applies to the requests that this thread makes meanwhile."""
        before = getattr(_thread, "interrupt", None)
        _thread.interrupt = self
        try:
            yield
        finally:
            _thread.interrupt = before

    @contextmanager
    def over(self, worker: PageWorker) -> Iterator[None]:
        """Lets ``set`` kill the worker meanwhile. Raises Interrupted if it is set already."""
        with self._lock:
            if self.is_set:
                raise Interrupted
            self._running.add(worker)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(worker)


_thread = threading.local()


def check_interrupt() -> None:
    """Raises Interrupted if the ``Interrupt`` of this thread is set."""
    interrupt: Interrupt | None = getattr(_thread, "interrupt", None)
    if interrupt is not None and interrupt.is_set:
        raise Interrupted


@dataclass(eq=False)
class PagePool:
    """Hands requests to workers. Thread-safe.

    Attributes:
        fault: Why the last start of a worker failed; None once one has started.
    """

    fault: str | None = None
    _workers: list[PageWorker] = field(default_factory=list)
    _idle: list[PageWorker] = field(default_factory=list)  # the latest used is last
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _most: int = 1  # idle workers that are kept: the highest bound that was asked for
    _ended_by: int | None = None  # the thread

    def warm_up(self, limits: PageLimits) -> None:
        """Starts a first worker, without waiting for it, unless there is one. A failure is kept as ``fault``."""
        with self._changed:
            if limits.processes and not self._workers:
                with suppress(WorkerError):  # whoever needs a page is told
                    self._idle.append(self._start())

    def check(self, limits: PageLimits) -> str | None:
        """Returns why no page can be prepared, after trying to start a worker where there is none; None if one can."""
        if limits.processes == 0:
            return None
        with self._changed:
            if any(worker.since is not None and worker.alive() for worker in self._workers):
                return None
        try:
            worker = self._take(limits, None)
            self._give_back(worker)
        except WorkerError as error:
            return str(error)
        return None

    def run(
        self,
        limits: PageLimits,
        request: Message,
        key: int | None,
        contents: Callable[[Message], AbstractContextManager[Sequence[int]]],
        canvas: int,
        take: Callable[[Message, PageWorker], None],
    ) -> Message:
        """Lets a worker answer a request.

        Args:
            limits: What it may cost.
            request: What ``child.Desk`` answers, without the file.
            key: The file that a worker keeps open; None if it keeps none.
            contents: Adds the file to a request, and holds the descriptors to send with it.
            canvas: Bytes of pixels that the reply may have.
            take: Called with the reply and the worker before another request may change the pixels.

        Returns:
            The reply.

        Raises:
            Failed: The worker died or took too long; it is replaced.
            Interrupted: The request's ``Interrupt`` was set.
            WorkerError: No worker can be started.
        """
        interrupt: Interrupt | None = getattr(_thread, "interrupt", None)
        worker = self._take(limits, key, interrupt)
        try:
            with (interrupt or Interrupt()).over(worker):
                worker.since = time.monotonic()
                known = key is not None and key in worker.opened
                reply = {"missing": True}
                if known:
                    reply = worker.ask(request, (), canvas, limits.timeout, limits.memory)
                if reply.get("missing"):  # the worker never had the file, or has closed it for others
                    with contents(request) as descriptors:
                        reply = worker.ask(request, descriptors, canvas, limits.timeout, limits.memory)
                if key is not None and "error" not in reply:
                    worker.opened[key] = None
                    worker.opened.move_to_end(key)
                take(reply, worker)
        except TimeoutError:
            self._drop(worker)
            raise Failed(f"took more than {limits.timeout:g} s (page_timeout)") from None
        except MemoryError:
            self._drop(worker)
            raise Failed(f"took more than {limits.memory:,} bytes of memory (page_memory_bytes)") from None
        except Ended:
            self._drop(worker)
            if self._is_over():
                stand_still()
            if interrupt is not None and interrupt.is_set:
                raise Interrupted from None
            raise Failed(
                f"ended its process ({worker.ending()}): its decoder crashed, or the system was out of memory"
            ) from None
        except BaseException:
            self._drop(worker)
            raise
        self._give_back(worker)
        return reply

    def forget(self, key: int) -> None:
        """Lets the workers close a file; those that are at work do so at their next request."""
        with self._changed:
            holders = [worker for worker in self._workers if key in worker.opened]
            for worker in holders:
                del worker.opened[key]
                worker.forgotten.append(key)
            idle = [worker for worker in holders if worker in self._idle]
            for worker in idle:
                self._idle.remove(worker)
        for worker in idle:
            try:
                worker.ask({}, (), 0, 1.0)
            except (Ended, TimeoutError):
                self._drop(worker)
            else:
                self._give_back(worker)

    def pids(self) -> list[int]:
        """The ids of the worker processes."""
        with self._changed:
            return [worker.pid for worker in self._workers]

    def close(self) -> None:
        """Ends the workers; requests under way fail. New ones are started when a page is asked for."""
        with self._changed:
            workers, idle = self._workers, self._idle
            self._workers, self._idle = [], []
            self._changed.notify_all()
        for worker in workers:
            if worker in idle:
                worker.close()
            else:
                worker.kill()  # whoever waits for its reply closes the rest

    def end(self) -> None:
        """``close`` at the end of the process: only the thread that carries it out prepares pages from then on."""
        self._ended_by = threading.get_ident()
        self.close()

    def abandon(self) -> None:
        """Drops the workers of the parent, in a forked process."""
        for worker in self._workers:
            worker.abandon()

    def _take(self, limits: PageLimits, key: int | None, interrupt: Interrupt | None = None) -> PageWorker:
        begun = time.monotonic()
        with self._changed:
            self._most = max(self._most, limits.processes)
            while True:
                if interrupt is not None and interrupt.is_set:
                    raise Interrupted
                worker = self._idle_one(key)
                if self._is_over():
                    break
                if worker is None and self._may_grow(limits, time.monotonic() - begun):
                    worker = self._start()
                if worker is not None:
                    break
                self._changed.wait(0.05)
        if worker is None:  # out of the lock
            stand_still()
        try:
            worker.wait_until_ready()
        except BaseException as error:
            if self._is_over():
                stand_still()
            if isinstance(error, WorkerError):
                self.fault = str(error)
            self._drop(worker)
            raise
        self.fault = None
        return worker

    def _is_over(self) -> bool:
        """Whether the process ends, and this is not the thread that ends it."""
        return self._ended_by not in (None, threading.get_ident())

    def _idle_one(self, key: int | None) -> PageWorker | None:
        for worker in [one for one in self._idle if not one.alive()]:
            self._idle.remove(worker)
            self._workers.remove(worker)
            worker.close()
        having = [worker for worker in self._idle if key is not None and key in worker.opened]
        for worker in (having or self._idle)[-1:]:
            self._idle.remove(worker)
            return worker
        return None

    def _may_grow(self, limits: PageLimits, waited: float) -> bool:
        now = time.monotonic()
        stuck = sum(worker.since is not None and now - worker.since > STUCK_SECONDS for worker in self._workers)
        running = len(self._workers) - min(stuck, MOST_STUCK)
        return not self._workers or (waited >= GROW_SECONDS and running < limits.processes)

    def _start(self) -> PageWorker:
        _end_with_the_process()
        try:
            worker = PageWorker()
        except WorkerError as error:
            self.fault = str(error)
            raise
        self._workers.append(worker)
        return worker

    def _give_back(self, worker: PageWorker) -> None:
        worker.since = None
        with self._changed:
            if worker in self._workers and len(self._workers) <= self._most:
                self._idle.append(worker)
                self._changed.notify()
                return
        self._drop(worker)

    def _drop(self, worker: PageWorker) -> None:
        with self._changed:
            if worker in self._workers:
                self._workers.remove(worker)
            self._changed.notify()
        worker.close()


_pool = PagePool()


def pool() -> PagePool:
    """The pool of this process."""
    return _pool


def close_workers() -> None:
    """Ends the page workers of this process; they are started again when a page is asked for."""
    _pool.close()


@functools.cache
def _end_with_the_process() -> None:
    """Has the workers end before whatever waits at the exit for threads that wait for them."""
    atexit.register(_end)


def _end() -> None:
    _pool.end()


def _forked() -> None:
    global _pool, _thread
    _pool.abandon()
    _pool, _thread = PagePool(), threading.local()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
