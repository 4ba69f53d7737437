"""Waiting for what another process, thread or task does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


def wait_until(
    reached: Callable[[], bool], seconds: float = 60, wrong: Callable[[], str] = lambda: "it did not happen"
) -> None:
    """Returns when ``reached`` is true; fails the test with ``wrong`` when it has not become so in time."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, wrong()
        time.sleep(0.01)


async def until_true(reached: Callable[[], bool]) -> None:
    """Does the same in an event loop, where other tasks go on."""

    async def poll() -> None:
        while not reached():
            await asyncio.sleep(0.01)

    await asyncio.wait_for(poll(), 60)
