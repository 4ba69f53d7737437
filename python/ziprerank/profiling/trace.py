"""Turns slices of time on threads into a Chrome trace (chrome://tracing, Perfetto).

All times are nanoseconds since the epoch, the clock that ONNX Runtime's profiler reads too. Its files count whole
microseconds since the session began, rounded down: its slices are moved by 999 ns, so that none begins before the call
that it belongs to, and end with that call where rounding would have them end after it.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ziprerank.errors import EngineError

MOST_EVENTS = 1_000_000  # ONNX Runtime records no more in one session
_ROUNDING = 2_000


@dataclass(frozen=True, slots=True)
class Slice:
    """A stretch of time on a thread, in nanoseconds. ``kind``: ranking, stage, engine, part, session or node."""

    name: str
    kind: str
    thread: int | str
    start: int
    end: int
    args: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ms(self) -> float:
        return (self.end - self.start) / 1e6

    def holds(self, other: Slice) -> bool:
        """Whether ``other`` lies within this slice's time, on any thread."""
        return self.start <= other.start and other.end <= self.end


def read_profile(file: Path, graph: str, start_ns: int) -> list[Slice]:
    """Reads ONNX Runtime's profile of one session as slices. Raises EngineError where the profile was full."""
    events = json.loads(file.read_text(encoding="utf-8"))
    if len(events) >= MOST_EVENTS:
        raise EngineError(f"{graph}: ONNX Runtime records {MOST_EVENTS:,} events at most: use fewer --runs or pages")
    slices = []
    for event in events:
        if event.get("ph") != "X":
            continue
        start = start_ns + 1_000 * event["ts"] + 999
        kind = {"Session": "session", "Node": "node"}.get(event["cat"])
        slices.append(
            Slice(
                name=event["name"].removesuffix("_kernel_time"),
                kind=kind or event["cat"],
                thread=event["tid"] if kind else event["cat"],  # kernels on a GPU run beside every thread
                start=start,
                end=start + 1_000 * event["dur"],
                args={"graph": graph, **event["args"]},
            )
        )
    return slices


def nested(slices: Iterable[Slice]) -> list[Slice]:
    """Sorts slices by thread and time, so that of two on one thread one holds the other or they do not meet.

    Raises:
        EngineError: The system's clock was set during the profile.
    """
    threads = defaultdict(list)
    for one in slices:
        threads[one.thread].append(one)
    out = []
    for thread in threads.values():
        open_slices: list[Slice] = []
        for one in sorted(thread, key=lambda one: (one.start, -one.end)):
            while open_slices and open_slices[-1].end <= one.start:
                open_slices.pop()
            inner = one
            if open_slices and one.end > open_slices[-1].end:
                caller = open_slices[-1]
                if one.end - caller.end > _ROUNDING:
                    raise EngineError(
                        f"{one.name!r} ends {(one.end - caller.end) / 1e3:.0f} us after {caller.name!r}, which called "
                        "it: the system's clock was set during the profile, record it again"
                    )
                inner = replace(one, end=caller.end)
            open_slices.append(inner)
            out.append(inner)
    return out


def chrome_trace(slices: Sequence[Slice], names: Mapping[int | str, str], about: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a trace in Trace Event Format: complete events, in microseconds from the first slice on.

    Args:
        slices: Nested by ``nested``.
        names: Names of the threads.
        about: What the trace is of.
    """
    origin = min(one.start for one in slices)
    process = os.getpid()
    numbers = {thread: thread if isinstance(thread, int) else -1 - i for i, thread in enumerate(names)}
    events: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": process, "tid": 0, "args": {"name": "ziprerank"}}
    ]
    for thread, name in names.items():
        events.append(
            {"ph": "M", "name": "thread_name", "pid": process, "tid": numbers[thread], "args": {"name": name}}
        )
    for one in slices:
        events.append(
            {
                "ph": "X",
                "name": one.name,
                "cat": one.kind,
                "pid": process,
                "tid": numbers[one.thread],
                "ts": (one.start - origin) / 1e3,
                "dur": (one.end - one.start) / 1e3,
                "args": dict(one.args),
            }
        )
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": dict(about)}
