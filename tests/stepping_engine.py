"""An engine that counts its steps, pages and passes, and stands still in one of them until it is told to go on."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from ziprerank.runtime.engine import EngineLike, WindowLike


class SteppingEngine:
    """The engine of ``inner``.

    Attributes:
        halt: The number of the step to stand still in, from 1; 0 is none.
        steps: Steps so far.
        reached: Set when that step has begun.
        go: Ends it.
    """

    def __init__(self, inner: EngineLike) -> None:
        self.halt = 0
        self.steps = 0
        self.reached = threading.Event()
        self.go = threading.Event()
        self._inner = inner

    def window(self, sizes: Sequence[tuple[int, int]], *, owner: str = "") -> WindowLike:
        return _Window(self, self._inner.window(sizes, owner=owner))  # type: ignore[return-value]

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.halt:
            self.reached.set()
            self.go.wait()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Window:
    def __init__(self, engine: SteppingEngine, inner: WindowLike) -> None:
        self._engine = engine
        self._inner = inner

    def encode(self, *arguments: Any) -> bool:
        self._engine.step()
        return self._inner.encode(*arguments)

    def score(self, *arguments: Any) -> Any:
        self._engine.step()
        return self._inner.score(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
