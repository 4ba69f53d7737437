"""The passes of one ranking, which another thread, a deadline or Ctrl-C may end in their middle."""

from __future__ import annotations

import threading
from functools import partial
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ziprerank.errors import Cancelled
from ziprerank.runtime.engine import WindowLike, WindowScores
from ziprerank.runtime.threads import Workers

_POLL_SECONDS = 0.1


class Cancel(Protocol):
    """What ends a ranking, such as a ``threading.Event``."""

    def is_set(self) -> bool:
        """Whether the ranking shall end with Cancelled; it may raise another error to end it with that.

        It is called in the ranking's own thread.
        """


class Passes:
    """Scores windows in a thread of its own where something may end a pass, so that this one can wait for that too.

    That is so with a ``cancel``, and in the main thread, which alone learns of Ctrl-C. Use it as a context manager,
    from one thread.
    """

    def __init__(self, cancel: Cancel | None, *, ctrl_c: bool = True) -> None:
        """Starts no thread yet; without ``ctrl_c`` and ``cancel`` passes run in the calling thread, as a profile needs.

        Args:
            cancel: Ends the ranking.
            ctrl_c: Whether Ctrl-C ends a pass of the main thread.
        """
        self._cancel = cancel
        self._aside = cancel is not None or (ctrl_c and threading.current_thread() is threading.main_thread())
        self._thread = Workers(1, "ziprerank-pass")

    def __enter__(self) -> Passes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.close()

    def check(self) -> None:
        """Raises Cancelled, or what ``is_set`` raises, if the ranking shall end."""
        if self._cancel is not None and self._cancel.is_set():
            raise Cancelled("the ranking was cancelled")

    def score(
        self,
        window: WindowLike,
        text_ids: NDArray[np.int64],
        query_mask: NDArray[np.bool_] | None,
        keep_ratio: float,
    ) -> WindowScores:
        """Returns ``window.score(text_ids, query_mask, keep_ratio)``.

        Whatever ends the wait for it, Ctrl-C too, ends the pass, and is raised once that has ended.

        Raises:
            Cancelled: The ranking shall end.
            EngineError: The pass failed.
        """
        work = partial(window.score, text_ids, query_mask, keep_ratio)
        if not self._aside:
            return work()
        try:  # also around submit, in which Ctrl-C may come once the pass runs
            scored = self._thread.submit(work)
            while not self._thread.wait(scored, _POLL_SECONDS):
                self.check()
        except BaseException:
            window.cancel()
            self._thread.close()
            raise
        return self._thread.result(scored)
