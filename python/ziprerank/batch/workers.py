"""Worker processes on this machine: each has an engine, takes a group at a time, and ends with its master."""

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
    """What comes of each group, in the order in which they end. Raises what loading the engine raises.

    A worker that dies, as by a crash of a PDF's parser, is replaced, and the rows that it had say so.
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
    """One process; as a context manager it is ended at the end."""

    def __init__(self, ranker: Ranker) -> None:
        self.pipe, theirs = _SPAWN.Pipe()
        self.died = False
        self._process = _SPAWN.Process(target=_work, args=(theirs, ranker), daemon=True, name="ziprerank-batch")
        self._process.start()
        theirs.close()  # so that the end of the process is the end of the pipe

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
        self._group = group
        with suppress(OSError):  # it died while it waited; ``take`` sees it
            self.pipe.send(group)

    def take(self) -> Done:
        """The group's rows; those of a process that died say with which status."""
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the master's, which then closes the pipe
    try:
        reranker = ranker.load()
    except ZipRerankError as error:
        pipe.send(EngineError(f"a worker could not start: {error}"))
        return
    while True:
        try:
            group: Any = pipe.recv()
        except EOFError:  # the master is gone, or done
            os._exit(0)  # at once: threads of an engine may be running
        pipe.send(ranker.rank(reranker, group))
