"""An engine that counts its steps, pages and passes, and stands still in one of them until it is told to go on."""

from __future__ import annotations

import threading

from counting_engine import CountingEngine
from ziprerank.runtime.engine import EngineLike


class SteppingEngine(CountingEngine):
    """The engine of ``inner``.

    Attributes:
        halt: The number of the step to stand still in, from 1; 0 is none.
        steps: Steps so far.
        reached: Set when that step has begun.
        go: Ends it.
    """

    def __init__(self, inner: EngineLike) -> None:
        super().__init__(inner, "", 0, lambda: None)
        self.halt = 0
        self.steps = 0
        self.reached = threading.Event()
        self.go = threading.Event()

    def step(self, kind: str) -> None:
        super().step(kind)
        self.steps += 1
        if self.steps == self.halt:
            self.reached.set()
            self.go.wait()
