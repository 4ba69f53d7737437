"""An engine that counts its steps, does something in the middle of one, and says how many began after that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ziprerank.runtime.engine import EngineLike, WindowLike


class CountingEngine:
    """The engine of ``inner``.

    Attributes:
        begun: Steps that began, by kind: ``encode`` or ``score``.
        after: Steps that began once ``act`` had been called.
    """

    def __init__(self, inner: EngineLike, kind: str, number: int, act: Callable[[], None]) -> None:
        """``act`` is called, once, in the step ``number`` of ``kind``, counted from 1, before the engine works."""
        self.begun = {"encode": 0, "score": 0}
        self.after = 0
        self._inner = inner
        self._when = kind, number
        self._act = act
        self._acted = False

    def step(self, kind: str) -> None:
        self.begun[kind] += 1
        if self._acted:
            self.after += 1
        elif (kind, self.begun[kind]) == self._when:
            self._acted = True
            self._act()

    def window(self, sizes: Sequence[tuple[int, int]], *, owner: str = "") -> WindowLike:
        return _Window(self, self._inner.window(sizes, owner=owner))  # type: ignore[return-value]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Window:
    def __init__(self, engine: CountingEngine, inner: WindowLike) -> None:
        self._engine = engine
        self._inner = inner

    def encode(self, *arguments: Any) -> Any:
        self._engine.step("encode")
        return self._inner.encode(*arguments)

    def score(self, *arguments: Any) -> Any:
        self._engine.step("score")
        return self._inner.score(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
