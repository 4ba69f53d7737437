"""One reranker behind an adapter: handed in, or loaded when the first query comes."""

from __future__ import annotations

import threading
from typing import Any

from ziprerank.errors import InvalidInput
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineOptions


class LazyReranker:
    """Loads a ``Reranker`` once, on first use, also where several threads come at once.

    Copies share it, deep ones too; a pickled one carries the options only, and its process loads again.
    """

    def __init__(self, options: EngineOptions | None = None, reranker: Reranker | None = None) -> None:
        """``reranker``: a loaded one, whose options then are known. Raises InvalidInput when both are given."""
        if reranker is not None and options is not None and options != EngineOptions():
            raise InvalidInput(f"{options.given()} beside a reranker, which has its own: leave one of them out")
        self.options = (options or EngineOptions()) if reranker is None else reranker.options
        self._reranker = reranker
        self._lock = threading.Lock()

    @classmethod
    def of(cls, reranker: Reranker | LazyReranker | None, options: EngineOptions) -> LazyReranker:
        """What an adapter was given as ``reranker`` and beside it. Raises InvalidInput when the two disagree."""
        if not isinstance(reranker, LazyReranker):
            return cls(options, reranker)
        if options not in (EngineOptions(), reranker.options):
            raise InvalidInput(f"{options} beside a reranker of {reranker.options}: leave one of them out")
        return reranker

    @property
    def loaded(self) -> bool:
        return self._reranker is not None

    def get(self) -> Reranker:
        """Raises as ``Reranker.from_bundle`` does; the next call tries again then."""
        with self._lock:
            if self._reranker is None:
                self._reranker = Reranker.from_options(self.options)
            return self._reranker

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyReranker:
        return self

    def __copy__(self) -> LazyReranker:
        return self

    def __reduce__(self) -> tuple[type[LazyReranker], tuple[EngineOptions]]:
        return LazyReranker, (self.options,)
