"""Hook called around each stage of a ranking (used by the profiler)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Watch = Callable[[str, "int | None"], AbstractContextManager[object]]
"""Called with a stage's name and the 0-based candidate that it is about (None: all of them).

The context manager that it returns is entered when the stage begins and left when it ends. Stages: ``open``,
``render``, ``tokenize``, ``wait`` (for a page's pixels), ``vision`` and ``rerank``. ``render`` runs in threads, several
at a time.
"""

_NOTHING = nullcontext()


def unwatched(_stage: str, _page: int | None) -> AbstractContextManager[object]:
    """The hook that does nothing."""
    return _NOTHING
