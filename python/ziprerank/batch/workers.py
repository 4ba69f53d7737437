"""Worker processes on this machine, each with an engine, which rank one group at a time and end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from itertools import islice
from multiprocessing.connection import Connection, wait
from time import monotonic
from types import TracebackType
from typing import Any

from ziprerank.batch.ranking import Done, Ranker, error_rows, time_up
from ziprerank.batch.rows import Group, Row
from ziprerank.errors import EngineError, ZipRerankError

_SPAWN = multiprocessing.get_context("spawn")  # a fork would inherit the others' pipes, and a CUDA context
GRACE = 5.0  # seconds beside a row's time before a process without a sign of life is taken to be stuck
_SIGN_EVERY = 1.0  # seconds between two of these signs
_LONGEST_WAIT = 86_400.0  # seconds; the system takes no wait of more than 24 days, and so waits again
_READY, _ALIVE = "ready", "alive"  # what a process sends once it has its engine, and while it ranks


def rank_locally(groups: Iterable[Group], ranker: Ranker, workers: int) -> Iterator[Done]:
    """Ranks groups in worker processes. A worker that dies or is stuck, for example in a PDF parser, is replaced.

    Args:
        groups: Groups of rows.
        ranker: How to load the engine and rank.
        workers: Number of processes.

    Yields:
        Rows of the groups in the order in which they are done; those of a worker that died or was stuck have an error.

    Raises:
        EngineError: A worker could not load its engine.
    """
    waiting = iter(groups)
    with ExitStack() as stack:
        busy: dict[Connection, Worker] = {}

        def give(group: Group, worker: Worker | None = None) -> None:
            if worker is None or worker.ended:
                worker = stack.enter_context(Worker(ranker))
            worker.give(group)
            busy[worker.pipe] = worker

        for group in islice(waiting, workers):
            give(group)
        while busy:
            for worker in _ready(busy):
                done = worker.take()
                if not worker.unanswered:
                    del busy[worker.pipe]
                    following = next(waiting, None)
                    if following is not None:
                        give(following, worker)
                if done is not None:
                    yield done


def _ready(busy: dict[Connection, Worker]) -> list[Worker]:
    """Waits until workers have something to take, or are stuck, and returns these."""
    first = min(worker.stuck_at for worker in busy.values())
    pipes = wait(list(busy), _until(first))
    return [worker for pipe, worker in busy.items() if pipe in pipes or worker.stuck_at <= monotonic()]


def _until(moment: float) -> float:
    """Returns the seconds to wait at once for a moment of the monotonic clock, which may be infinitely far."""
    return min(_LONGEST_WAIT, max(0.0, moment - monotonic()))


class Worker:
    """A worker process, which ends with its context.

    Attributes:
        pipe: Readable when there is something to take.
        unanswered: The rows of its group that are not done.
        stuck_at: When the process is taken to be stuck, by the monotonic clock; infinite without a limit.
        ended: Whether the process died or was stuck and killed; another one is needed then.
    """

    def __init__(self, ranker: Ranker) -> None:
        """Starts the process, which loads its engine and then takes groups."""
        self.unanswered: list[Row] = []
        self.stuck_at = float("inf")
        self.ended = False
        self._timeout = ranker.row_timeout
        self._ready = False
        self.pipe, theirs = _SPAWN.Pipe()
        # not daemonic: those may have no children, and the pages of a document may be prepared in one
        self._process = _SPAWN.Process(target=_work, args=(theirs, ranker), name="ziprerank-batch")
        self._process.start()
        theirs.close()  # so that the pipe ends with the process

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pipe.close()
        if error is not None:
            self._process.kill()
        self._process.join()

    def give(self, group: Group) -> None:
        """Hands the process a group to rank, which it gets once it has loaded its engine."""
        self._group, self.unanswered = group, list(group.rows)
        if self._ready:
            self._send()

    def take(self) -> Done | None:
        """Waits for rows that are done and returns them; None if the process has only given a sign of life.

        If the process dies or is stuck, all rows of its group that are not done get an error.

        Raises:
            EngineError: The process could not load its engine.
        """
        while not self.pipe.poll(_until(self.stuck_at)):
            if self.stuck_at <= monotonic():
                return self._end(time_up(self._timeout or 0) + "; its worker process was stuck and has been killed")
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            told = f"the worker process ended with status {self._process.exitcode} while it ranked this document"
            return self._end(told, failed=True)
        if isinstance(answer, Done):
            names = {row["id"] for row in answer.rows}
            self.unanswered = [row for row in self.unanswered if row.id not in names]
            self._wait_from_now()
            return answer
        if answer == _READY:
            self._ready = True
            self._send()
        elif answer == _ALIVE:
            self._wait_from_now()
        else:
            raise answer
        return None

    def _send(self) -> None:
        with suppress(OSError):  # the process died while it waited; ``take`` notices
            self.pipe.send(self._group)
        self._wait_from_now()

    def _wait_from_now(self) -> None:
        """A row looks at its time by itself; so much time without a sign means that it does not come to that."""
        if self._timeout is not None:
            self.stuck_at = monotonic() + self._timeout + GRACE if self.unanswered else float("inf")

    def _end(self, told: str, *, failed: bool = False) -> Done:
        self._process.kill()
        self._process.join()
        self.ended = True
        self.stuck_at = float("inf")
        rows, self.unanswered = self.unanswered, []
        return Done(error_rows(rows, told), failed)


def _end_with_parent() -> None:
    """Ends this process with its parent, also while it is stuck and does not look at its pipe."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(pipe: Connection, ranker: Ranker) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C, and then closes the pipe
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        reranker = ranker.load()
    except ZipRerankError as error:
        pipe.send(EngineError(f"a worker could not start: {error}"))
        return
    signed = 0.0

    def sign() -> None:
        nonlocal signed
        if monotonic() - signed > _SIGN_EVERY:
            signed = monotonic()
            pipe.send(_ALIVE)

    try:
        pipe.send(_READY)
        while True:
            group: Any = pipe.recv()
            for done in ranker.rank(reranker, group, sign):
                pipe.send(done)
    except (EOFError, OSError):  # the parent is gone or done
        os._exit(0)  # without waiting for the engine's threads
