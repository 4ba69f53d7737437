"""Runs sessions of the engine on stand-ins for a GPU (engine/tests/fakes), and returns what these recorded.

The stand-ins are a driver library and an ONNX Runtime; each session has a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ziprerank.runtime.onnxruntime import find_runtime

PROGRAM = Path(__file__).parent / "engine" / "cuda_session.py"
DRIVER = "ZIPRERANK_CUDA_DRIVER"


@dataclass(frozen=True)
class Result:
    """What a session printed, and the calls that were recorded: function and arguments."""

    output: dict[str, Any]
    calls: list[list[str]]

    def of(self, function: str) -> list[list[str]]:
        return [call[1:] for call in self.calls if call[0] == function]

    @property
    def stream(self) -> str:
        """The stream that ONNX Runtime was told to work on, for both graphs the same."""
        (stream,) = {value for name, value in self.of("provider_option") if name == "user_compute_stream"}
        return stream


Session = Callable[..., Result]


def start_session(
    fakes: Path, log: Path, bundle: Path, *arguments: str, provider: str = "cuda", fake: bool = True, **settings: str
) -> Result:
    """Runs cuda_session.py on the stand-ins in ``fakes``; keywords are environment variables."""
    real = str(find_runtime().library)
    environment = {
        **os.environ,
        "REAL_ONNXRUNTIME": real,
        "FAKE_CUDA_LOG": str(log),
        "FAKE_CUDA_HIDDEN": "256",
        "FAKE_CUDA_LEVELS": "4",
        DRIVER: str(fakes / "libfake_cuda_driver.so"),
        **settings,
    }
    library = str(fakes / "libfake_onnxruntime.so") if fake else real
    command = [sys.executable, str(PROGRAM), str(bundle), library, provider, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    calls = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return Result(json.loads(done.stdout), calls)


def same_windows(found: Result, wanted: Result) -> None:
    assert any(np.ptp(window["scores"]) > 0.1 for window in wanted.output["windows"])  # the pages have an order
    for ours, theirs in zip(found.output["windows"], wanted.output["windows"], strict=True):
        assert ours["kept"] == theirs["kept"]
        np.testing.assert_allclose(ours["scores"], theirs["scores"], atol=1e-5)
