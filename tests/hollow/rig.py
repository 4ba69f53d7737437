"""Runs programs on a hollow GPU; the package's docstring says how."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .record import Record, read_record
from .stubs import ANY_VERSION, build_stubs
from .wheel import TESTED, unpacked

TESTS = Path(__file__).resolve().parents[1]
SESSION = Path(__file__).parent / "session.py"
QUERY = "dividend payment to the holders of shares"


@dataclass(frozen=True)
class Step:
    """One ranking: sizes of the pages in pixels ``(height, width)``, the keep ratio, and pages in a window.

    Pages with the same size and seed are the same page; by default each has its number in the step as its seed, so that
    a step finds the pages of an earlier one in the pool where sizes agree.
    """

    sizes: Sequence[tuple[int, int]]
    keep: float = 0.5
    window: int = 20
    seeds: Sequence[int] = ()
    query: str = QUERY

    def request(self) -> dict[str, Any]:
        """As session.py reads it."""
        return {**asdict(self), "seeds": list(self.seeds or range(len(self.sizes)))}


@dataclass(frozen=True)
class Run:
    """A process that has ended."""

    returncode: int
    stdout: str
    stderr: str
    log: Path

    @cached_property
    def record(self) -> Record:
        """What it asked of the GPU."""
        return read_record(self.log)

    @property
    def output(self) -> Any:
        """What it printed, as JSON. Raises RuntimeError where it failed."""
        if self.returncode != 0:
            raise RuntimeError(f"it ended with {self.returncode}:\n{self.stderr[-4000:]}")
        return json.loads(self.stdout.splitlines()[-1])


@dataclass(frozen=True)
class HollowGpu:
    """Stub CUDA libraries and the onnxruntime-gpu that they are made for."""

    libraries: Path
    runtime: Path  # on PYTHONPATH
    version: str

    def environment(self, log: Path, **settings: str) -> dict[str, str]:
        """Variables of a process that runs on it and writes ``log``; ``settings`` are more of them."""
        paths = [str(self.runtime), str(TESTS), os.environ.get("PYTHONPATH", "")]
        libraries = [str(self.libraries), os.environ.get("LD_LIBRARY_PATH", "")]
        environment = {name: value for name, value in os.environ.items() if name != "ZIPRERANK_CUDA_DRIVER"}
        return {
            **environment,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
            "FAKE_CUDA_FIRST": "1",
            "HOLLOW_LOG": str(log),
            **settings,
        }

    def run(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        memory: int | None = None,
        fail: str = "",
        skip: int | None = None,
        capability: int = 90,
        devices: int = 1,
        environment: Mapping[str, str] | None = None,
    ) -> Run:
        """Runs a program to its end.

        Args:
            command: The program and its arguments.
            log: Where the log is written; it must not exist yet.
            memory: Bytes of the device; None is 80 GiB.
            fail: Which call fails, ``kind:n:status`` or ``kind:n:status:lost``.
            skip: Copies of more bytes than this are not carried out; None carries out all.
            capability: Compute capability, 90 for 9.0.
            devices: How many GPUs there are.
            environment: More variables.
        """
        settings = {"FAKE_CUDA_CAPABILITY": str(capability), "FAKE_CUDA_DEVICES": str(devices), "HOLLOW_FAIL": fail}
        if memory is not None:
            settings["HOLLOW_MEMORY"] = str(memory)
        if skip is not None:
            settings["HOLLOW_SKIP"] = str(skip)
        variables = self.environment(log, **settings, **(environment or {}))
        done = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, check=False, env=variables
        )
        return Run(done.returncode, done.stdout, done.stderr, log)

    def rank(
        self,
        bundle: Path,
        log: Path,
        steps: Sequence[Step],
        *,
        profile: Path | None = None,
        any_version: bool = False,
        options: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Run:
        """Ranks random pages with ``bundle`` in a process of its own (session.py).

        Args:
            bundle: A CUDA bundle.
            log: Where the log is written.
            steps: The rankings, one after the other on one engine.
            profile: Prefix of the files in which ONNX Runtime records its nodes.
            any_version: Runs an ONNX Runtime that the engine refuses as too old, too.
            options: Fields of ``EngineOptions``; without them provider is cuda and no token is dropped as blank.
            settings: As for `run`.
        """
        request = {
            "steps": [step.request() for step in steps],
            "profile": "" if profile is None else str(profile),
            "options": dict(options or {}),
        }
        if any_version:
            library = next((self.runtime / "onnxruntime" / "capi").glob("libonnxruntime.so.*"))
            disguise = {"HOLLOW_RUNTIME": str(library), "HOLLOW_DISGUISE": str(self.libraries / ANY_VERSION)}
            settings["environment"] = {**settings.get("environment", {}), **disguise}
        return self.run([sys.executable, SESSION, bundle, json.dumps(request)], log, **settings)


def prepare(folder: Path, version: str = TESTED, *, cudnn: bool = True) -> HollowGpu:
    """Fetches onnxruntime-gpu ``version`` where it is not in the cache, and compiles its stub libraries.

    Args:
        folder: For the stub libraries.
        version: Of onnxruntime-gpu.
        cudnn: Whether there is a cuDNN.

    Raises:
        Unavailable: The wheel cannot be had, or there is no C compiler.
    """
    runtime = unpacked(version)
    build_stubs(runtime / "onnxruntime" / "capi" / "libonnxruntime_providers_cuda.so", folder, cudnn=cudnn)
    return HollowGpu(folder, runtime, version)
