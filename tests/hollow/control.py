"""For a program that runs on the hollow GPU: parts of its record, failures, and what memory is in use."""

from __future__ import annotations

import ctypes
from functools import cache


@cache
def _device() -> ctypes.CDLL:
    library = ctypes.CDLL("libhollow.so")  # the one that the stub libraries use: on LD_LIBRARY_PATH
    library.hollow_live.restype = library.hollow_peak.restype = ctypes.c_size_t
    return library


def mark(part: str) -> None:
    """Begins a part of the record; names that come twice are one part."""
    _device().hollow_mark(part.encode())


def fail(plan: str) -> None:
    """Sets which call fails from now on, as `HollowGpu.run`'s ``fail``; empty: none, and a lost device is back."""
    _device().hollow_fail(plan.encode())


def limit(memory: int) -> None:
    """Sets the bytes of the device."""
    _device().hollow_limit(ctypes.c_size_t(memory))


def live(*, host: bool = False) -> int:
    """Bytes allocated on the device now; with ``host``, of pinned memory."""
    return int(_device().hollow_live(int(host)))


def peak(*, host: bool = False) -> int:
    """Most bytes that were allocated at a time so far."""
    return int(_device().hollow_peak(int(host)))
