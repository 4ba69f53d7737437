"""The life of something that threads use and one of them closes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ziprerank.errors import EngineError, InvalidInput


class Lifetime:
    """Counts the uses under way of ``what``, so that it is closed after them, once, and in its own process only."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._users: list[int] = []  # threads, one entry a use
        self._closed = False

    @contextmanager
    def use(self) -> Iterator[None]:
        """One use. Raises InvalidInput once ``what`` is closed, and EngineError in a process that was forked since."""
        if self._process != os.getpid():  # before the lock, which a thread of the other process may hold
            raise EngineError(
                f"{self._what} was made before process {os.getpid()} was forked, and a fork copies no threads: make "
                "one after the fork, or start processes by spawn"
            )
        user = threading.get_ident()
        with self._changed:
            if self._closed:
                raise InvalidInput(f"{self._what} is closed: make another one")
            self._users.append(user)
        try:
            yield
        finally:
            with self._changed:
                self._users.remove(user)
                self._changed.notify_all()

    def end(self) -> bool:
        """Lets no use begin any more, and waits for those under way.

        Returns:
            Whether there is something to close: False from the second time on, and in a process that was forked since.

        Raises:
            InvalidInput: This thread itself is in a use, for which it would wait for ever.
        """
        if self._process != os.getpid():
            return False
        with self._changed:
            if threading.get_ident() in self._users:
                raise InvalidInput(f"{self._what} cannot be closed from inside of a ranking of its own: close it after")
            first, self._closed = not self._closed, True
            self._changed.wait_for(lambda: not self._users)
            return first
