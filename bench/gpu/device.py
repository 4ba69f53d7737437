"""The device that is measured: how long work on it takes, and what rows say about it."""

from __future__ import annotations

import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import torch
from ziprerank.comparison.machine import commit

FLUSH_BYTES = 256 << 20  # several times the largest L2 cache: what was there before is gone
CLOCKS = ("clocks.sm", "clocks.mem", "clocks.max.sm", "temperature.gpu", "power.draw")
PACKAGES = ("torch", "triton", "transformers", "onnxruntime", "onnxruntime-gpu", "numpy", "ziprerank")


class Device:
    """``cuda``, ``cuda:N`` or ``cpu``, where Triton interprets and times mean nothing."""

    def __init__(self, name: str) -> None:
        self.torch = torch.device(name)
        self.cuda = self.torch.type == "cuda"
        self._flush = torch.empty(FLUSH_BYTES if self.cuda else 1, dtype=torch.int8, device=self.torch)

    def finish(self) -> None:
        """Waits for what the device was given."""
        if self.cuda:
            torch.cuda.synchronize(self.torch)

    def times_ms(self, run: Callable[[], object], runs: int) -> list[float]:
        """Of each run, with an empty L2 cache before: between two CUDA events, or by the clock on a CPU.

        Clearing the cache takes longer than launching ``run``, so that no event waits for the host.
        """
        if not self.cuda:
            return [_wall_ms(run) for _ in range(runs)]
        marks = []
        for _ in range(runs):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            self._flush.zero_()
            start.record()
            run()
            end.record()
            marks.append((start, end))
        self.finish()
        return [start.elapsed_time(end) for start, end in marks]

    def replay(self, run: Callable[[], object]) -> tuple[Callable[[], object], str]:
        """``run`` as one CUDA graph, so that a time is of the kernels and not of launching them from Python; and what
        was made of it, for the row. ``run`` must have been called before."""
        if not self.cuda:
            return run, "calls"
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                run()
        except RuntimeError as error:
            return run, f"calls, no CUDA graph: {error}"
        return graph.replay, "CUDA graph"

    def wall_ms(self, run: Callable[[], object]) -> float:
        """By the clock, from an idle device to its end."""
        self.finish()

        def finished() -> None:
            run()
            self.finish()

        return _wall_ms(finished)

    def clocks(self) -> dict[str, str] | str:
        """MHz, degrees Celsius and watts at this moment, or why they were not read."""
        return self._smi(CLOCKS)

    def describe(self) -> dict[str, Any]:
        """Machine, driver, versions and commit; what is not there is null."""
        return {
            "device": torch.cuda.get_device_name(self.torch) if self.cuda else "cpu",
            "capability": ".".join(map(str, torch.cuda.get_device_capability(self.torch))) if self.cuda else None,
            "driver": self._smi(("driver_version",)),
            "cuda": torch.version.cuda,
            "machine": platform.processor() or platform.machine(),
            "python": platform.python_version(),
            **{name: _version(name) for name in PACKAGES},
            "commit": commit(),
        }

    def _smi(self, fields: Sequence[str]) -> dict[str, str] | str:
        if not self.cuda:
            return "not read: no GPU"
        if shutil.which("nvidia-smi") is None:
            return "not read: no nvidia-smi"
        index = self.torch.index or 0
        query = ["nvidia-smi", f"--id={index}", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
        done = subprocess.run(query, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return f"not read: {(done.stdout + done.stderr).strip()}"
        return dict(zip(fields, (value.strip() for value in done.stdout.split(",")), strict=True))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _wall_ms(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return (time.perf_counter() - started) * 1e3
