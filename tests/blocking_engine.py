"""An engine whose passes, when asked to, run until they are cancelled."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from ziprerank.errors import Cancelled
from ziprerank.runtime.engine import EngineLike, WindowLike


class BlockingEngine:
    """The engine of ``inner``.

    Attributes:
        blocks: Whether passes run until they are cancelled.
        began: Set when such a pass begins.
        ended: Such passes that have ended.
    """

    def __init__(self, inner: EngineLike) -> None:
        self.blocks = True
        self.began = threading.Event()
        self.ended = 0
        self._inner = inner

    def window(self, sizes: Sequence[tuple[int, int]], *, owner: str = "") -> WindowLike:
        return _Window(self, self._inner.window(sizes, owner=owner))  # type: ignore[return-value]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Window:
    def __init__(self, engine: BlockingEngine, inner: WindowLike) -> None:
        self._engine = engine
        self._inner = inner
        self._cancelled = threading.Event()

    def score(self, *arguments: Any) -> Any:
        if not self._engine.blocks:
            return self._inner.score(*arguments)
        self._engine.began.set()
        self._cancelled.wait()
        self._engine.ended += 1
        raise Cancelled("the window was cancelled")

    def cancel(self) -> None:
        self._cancelled.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
