"""The measured device: times of work on it, and its description in the rows."""

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

FLUSH_BYTES = 256 << 20  # several times the largest L2 cache, so that writing it clears the cache
CLOCKS = ("clocks.sm", "clocks.mem", "clocks.max.sm", "temperature.gpu", "power.draw")
PACKAGES = ("torch", "triton", "transformers", "onnxruntime", "onnxruntime-gpu", "numpy", "ziprerank")


class Device:
    """A device by name: ``cuda``, ``cuda:N`` or ``cpu``; on ``cpu`` Triton interprets and times mean nothing."""

    def __init__(self, name: str) -> None:
        self.torch = torch.device(name)
        self.cuda = self.torch.type == "cuda"
        self._flush = torch.empty(FLUSH_BYTES if self.cuda else 1, dtype=torch.int8, device=self.torch)

    @property
    def capability(self) -> int | None:
        """Its compute capability, 90 for 9.0; None on the CPU."""
        if not self.cuda:
            return None
        major, minor = torch.cuda.get_device_capability(self.torch)
        return 10 * major + minor

    def finish(self) -> None:
        """Waits until the device has finished its work."""
        if self.cuda:
            torch.cuda.synchronize(self.torch)

    def times_ms(self, run: Callable[[], object], runs: int) -> list[float]:
        """Times each run with an empty L2 cache, between two CUDA events or by the clock on a CPU.

        Clearing the cache takes longer than launching ``run``, so no event waits for the host.
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
        """Captures ``run`` as one CUDA graph, so that times do not include launching kernels from Python.

        Args:
            run: has been called before.

        Returns:
            The function to time, and what it does ("CUDA graph" or "calls"), for the row.
        """
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
        """Times ``run`` by the clock, from an idle device until it has finished."""
        self.finish()

        def finished() -> None:
            run()
            self.finish()

        return _wall_ms(finished)

    def clocks(self) -> dict[str, str] | str:
        """Returns clocks (MHz), temperature (degrees Celsius) and power (watts), or why they were not read."""
        return self._smi(CLOCKS)

    def describe(self) -> dict[str, Any]:
        """Returns machine, driver, versions and commit; what is missing is None."""
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
