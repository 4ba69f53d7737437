"""Threads that work ahead of a caller, also while the program ends.

A ``ThreadPoolExecutor`` takes no work once the main program has returned, although threads of it may still rank. These
threads do: they are daemons, each lives as long as there is work, and the end of the interpreter waits for the work
under way, since native libraries are taken apart after it.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from types import TracebackType
from typing import Any, NoReturn, TypeVar

from ziprerank.errors import EngineError

T = TypeVar("T")


class Workers:
    """At most ``most`` threads for the jobs of one owner; use from one thread, as a context manager."""

    def __init__(self, most: int, name: str) -> None:
        """Starts no thread yet; ``name`` is the first part of the threads' names."""
        self.most = most
        self._name = name
        self._lock = threading.Lock()
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._threads: set[threading.Thread] = set()
        self._process = os.getpid()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drops the jobs that have not begun, and waits for those that have."""
        if self._process != os.getpid():
            return  # the threads are those of the process that was forked
        with self._lock:
            self._jobs.clear()
            threads = list(self._threads)
        for thread in threads:
            with suppress(RuntimeError):  # Ctrl-C came while it was being started; it will find no job
                thread.join()

    def submit(self, body: Callable[[], T]) -> Future[T]:
        """Runs ``body`` in a thread, or here where no thread can be started. Raises EngineError after a fork."""
        self._check()
        future: Future[T] = Future()
        if _life.over:
            self._run(future, body)
            return future
        thread = None
        with self._lock:
            self._jobs.append((future, body))
            if len(self._threads) < self.most:
                name = f"{self._name}_{len(self._threads)}"
                thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._threads.add(thread)
        if thread is not None:
            try:
                thread.start()
            except RuntimeError:  # the system has no more threads, or the interpreter starts none at its end
                with self._lock:
                    self._threads.discard(thread)
                self._work()
        return future

    def wait(self, future: Future[Any], seconds: float) -> bool:
        """Waits at most so long for what ``submit`` returned; whether it is done. Raises EngineError after a fork."""
        self._check()
        return future in wait([future], seconds).done

    def result(self, future: Future[T]) -> T:
        """Waits for what ``submit`` returned. Raises what the job raised, and EngineError after a fork."""
        self._check()
        return future.result()

    def _check(self) -> None:
        if self._process != os.getpid():
            raise EngineError(
                f"process {os.getpid()} was forked while pages were being prepared, and has none of the threads that "
                "prepare them: fork before ranking, or start processes by spawn"
            )

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._threads.discard(threading.current_thread())
                    return
                future, body = self._jobs.popleft()
            self._run(future, body)

    def _run(self, future: Future[T], body: Callable[[], T]) -> None:
        if not _life.begin():
            return  # a daemon's ranking, which the end of the process cuts off while it waits for this page
        _thread.in_job = True
        try:
            future.set_result(body())
        except _Left:
            pass  # as above
        except BaseException as error:  # whoever waits for the result gets it
            future.set_exception(error)
        finally:
            _thread.in_job = False
            _life.end()


class _Left(BaseException):
    """Ends a job without a result."""


_thread = threading.local()


def stand_still() -> NoReturn:
    """For a thread that the end of the process cuts off: it goes no further, and raises nothing that anybody sees.

    A job ends without a result, so that the end need not wait for it; any other thread waits for ever.
    """
    if getattr(_thread, "in_job", False):
        raise _Left
    while True:
        threading.Event().wait()


class _Life:
    """Counts the jobs under way in this process, for its end to wait for."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forgets the jobs of the process that this one was forked from, one of which may hold the lock."""
        self.over = False
        self._ended_by: int | None = None
        self._changed = threading.Condition()
        self._running = 0

    def begin(self) -> bool:
        """Whether a job may begin: once the end has come, only in the thread that carries it out."""
        with self._changed:
            if self.over and self._ended_by != threading.get_ident():
                return False
            self._running += 1
            return True

    def end(self) -> None:
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def finish(self) -> None:
        """Lets no other thread begin a job, and waits for those under way."""
        with self._changed:
            self._ended_by = threading.get_ident()
            self.over = True
            self._changed.wait_for(lambda: self._running == 0)


_life = _Life()


def finish_jobs() -> None:
    """For the end of the interpreter: lets other threads begin no job, and waits for those under way."""
    _life.finish()


atexit.register(finish_jobs)
os.register_at_fork(after_in_child=_life.begin_anew)
