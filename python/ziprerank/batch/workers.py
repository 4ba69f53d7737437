"""Worker processes on this machine, each with an engine, which rank one group at a time and end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any

from ziprerank.batch.ranking import Done, Ranker, error_rows
from ziprerank.batch.rows import Group
from ziprerank.errors import EngineError, ZipRerankError

_SPAWN = multiprocessing.get_context("spawn")  # a fork would inherit the others' pipes, and a CUDA context


def rank_locally(groups: Iterable[Group], ranker: Ranker, workers: int) -> Iterator[Done]:
    """Ranks groups in worker processes. A worker that dies, for example in a PDF parser, is replaced.

    Args:
        groups: Groups of rows.
        ranker: How to load the engine and rank.
        workers: Number of processes.

    Yields:
        The rows of each group in the order in which they are done; the rows of a worker that died have an error.

    Raises:
        EngineError: A worker could not load its engine.
    """
    waiting = iter(groups)
    with ExitStack() as stack:
        busy: dict[Connection, _Worker] = {}
        for group in waiting:
            worker = stack.enter_context(_Worker(ranker))
            worker.give(group)
            busy[worker.pipe] = worker
            if len(busy) == workers:
                break
        while busy:
            for pipe in wait(list(busy)):
                worker = busy.pop(pipe)  # type: ignore[call-overload]
                done = worker.take()
                following = next(waiting, None)
                if following is not None:
                    if worker.died:
                        worker = stack.enter_context(_Worker(ranker))
                    worker.give(following)
                    busy[worker.pipe] = worker
                yield done


class _Worker:
    """A worker process, which ends with its context."""

    def __init__(self, ranker: Ranker) -> None:
        self.pipe, theirs = _SPAWN.Pipe()
        self.died = False
        self._process = _SPAWN.Process(target=_work, args=(theirs, ranker), daemon=True, name="ziprerank-batch")
        self._process.start()
        theirs.close()  # so that the pipe ends with the process

    def __enter__(self) -> _Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pipe.close()
        if error is not None:
            self._process.terminate()
        self._process.join()

    def give(self, group: Group) -> None:
        """Sends the process a group to rank."""
        self._group = group
        with suppress(OSError):  # the process died while it waited; ``take`` notices
            self.pipe.send(group)

    def take(self) -> Done:
        """Returns the group's rows, with an error if the process died. Raises EngineError if it could not start."""
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            self.died = True
            told = f"the worker process ended with status {self._process.exitcode} while it ranked this document"
            return Done(error_rows(self._group.rows, told), failed=True)
        if isinstance(answer, Done):
            return answer
        raise answer


def _work(pipe: Connection, ranker: Ranker) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C, and then closes the pipe
    try:
        reranker = ranker.load()
    except ZipRerankError as error:
        pipe.send(EngineError(f"a worker could not start: {error}"))
        return
    while True:
        try:
            group: Any = pipe.recv()
        except EOFError:  # the parent is gone or done
            os._exit(0)  # without waiting for the engine's threads
        pipe.send(ranker.rank(reranker, group))
