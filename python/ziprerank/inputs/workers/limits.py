"""Where pages are prepared, and what one page may cost there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from ziprerank.errors import InvalidInput
from ziprerank.runtime.cpus import usable_cpus
from ziprerank.values import real_number, whole_number

PAGE_TIMEOUT = 20.0  # seconds
PAGE_MEMORY_BYTES = 2 << 30
MOST_WORKERS = 4
_LONGEST = 86_400.0

WorkersOption = int | Literal["auto", "off"]


@dataclass(frozen=True, slots=True)
class PageLimits:
    """The options ``page_workers``, ``page_timeout`` and ``page_memory_bytes`` of ``EngineOptions``.

    Attributes:
        workers: Most page workers; ``"auto"`` is one for each CPU that this process may use, at most 4; ``"off"``
            prepares pages in this process.
        timeout: Most seconds that a page, or the opening of a document, takes in a page worker.
        memory: Most bytes that a page worker allocates for a page.

    Raises:
        InvalidInput: A value out of its bounds.
    """

    workers: WorkersOption = "auto"
    timeout: float = PAGE_TIMEOUT
    memory: int = PAGE_MEMORY_BYTES

    def __post_init__(self) -> None:
        workers = self.workers
        if workers not in ("auto", "off"):
            given = int(workers) if isinstance(workers, str) and workers.isascii() and workers.isdigit() else workers
            number = whole_number(given)
            if number is None or number < 1:
                raise InvalidInput(
                    f"page_workers={workers!r}: must be 'auto', 'off' or a number of processes from 1 on"
                )
            object.__setattr__(self, "workers", number)
        seconds = real_number(self.timeout)
        if seconds is None or not 0 < seconds <= _LONGEST:
            raise InvalidInput(f"page_timeout={self.timeout!r}: must be over 0 and at most {_LONGEST:g} seconds")
        object.__setattr__(self, "timeout", seconds)
        count = whole_number(self.memory)
        if count is None or count < 1:
            raise InvalidInput(f"page_memory_bytes={self.memory!r}: must be a positive number of bytes")
        object.__setattr__(self, "memory", count)

    @property
    def processes(self) -> int:
        """Most page workers of this process; 0 where pages are prepared in it.

        ``"auto"`` is 0 on systems other than Linux and macOS, where descriptors cannot be handed to a child.
        """
        if self.workers == "off":
            return 0
        if self.workers == "auto":
            return min(MOST_WORKERS, usable_cpus()) if os.name == "posix" else 0
        return self.workers
