"""The reranker behind an adapter, which is either passed in or loaded at the first query."""

from __future__ import annotations

import os
import threading
from typing import Any
from weakref import WeakSet

from ziprerank.errors import InvalidInput
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineOptions


class LazyReranker:
    """Loads a ``Reranker`` once, at its first use, even if several threads use it at the same time.

    Copies, also deep ones, share the reranker. Pickling keeps only the options, so an unpickled one loads it again; so
    does a process that was forked, which cannot use its parent's.
    """

    def __init__(self, options: EngineOptions | None = None, reranker: Reranker | None = None) -> None:
        """Takes the options of an engine to load, or a loaded reranker.

        Args:
            options: What to load; None is the defaults.
            reranker: A loaded reranker, whose own options are used.

        Raises:
            InvalidInput: Both are given.
        """
        if reranker is not None and options is not None and options != EngineOptions():
            raise InvalidInput(f"{options.given()} given with a reranker, which has its own: leave one of them out")
        self._options: EngineOptions | InvalidInput  # of an engine that no options load, why not
        try:
            self._options = (options or EngineOptions()) if reranker is None else reranker.options
        except InvalidInput as error:
            self._options = error
        self._reranker = reranker
        self._lock = threading.Lock()
        _all.add(self)

    @classmethod
    def of(cls, reranker: Reranker | LazyReranker | None, options: EngineOptions) -> LazyReranker:
        """Returns the lazy reranker for an adapter's arguments.

        Args:
            reranker: The adapter's argument ``reranker``.
            options: The adapter's engine options.

        Raises:
            InvalidInput: ``options`` differ from the defaults and from those of ``reranker``.
        """
        if not isinstance(reranker, LazyReranker):
            return cls(options, reranker)
        if options != EngineOptions() and options != reranker.options:
            raise InvalidInput(f"{options} given with a reranker of {reranker.options}: leave one of them out")
        return reranker

    @property
    def options(self) -> EngineOptions:
        """Options that load the same engine. Raises InvalidInput for one that options cannot load, as Triton's."""
        if isinstance(self._options, InvalidInput):
            raise self._options
        return self._options

    @property
    def loadable(self) -> bool:
        """Whether there are such options."""
        return not isinstance(self._options, InvalidInput)

    @property
    def loaded(self) -> bool:
        """Whether the engine has been loaded."""
        return self._reranker is not None

    def get(self) -> Reranker:
        """Returns the reranker and loads it first if needed.

        Raises as ``Reranker.from_bundle`` does; after an error the next call tries again.
        """
        with self._lock:
            if self._reranker is None:
                self._reranker = Reranker.from_options(self.options)
            return self._reranker

    def _forget(self) -> None:
        self._reranker, self._lock = None, threading.Lock()  # a thread of the parent may hold the other one

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyReranker:
        return self

    def __copy__(self) -> LazyReranker:
        return self

    def __reduce__(self) -> tuple[type[LazyReranker], tuple[EngineOptions]]:
        return LazyReranker, (self.options,)


_all: WeakSet[LazyReranker] = WeakSet()


def _forget_all() -> None:
    for lazy in list(_all):
        lazy._forget()


os.register_at_fork(after_in_child=_forget_all)
