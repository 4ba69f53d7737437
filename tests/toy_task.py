"""A regression that trains in a few hundredths of a second; also a program, for tests that kill it.

    python toy_task.py OUT HANG_AT DROPOUT ACCUMULATE

waits for ever at micro-batch HANG_AT (-1: at none).
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import torch
from free_port import free_port
from safetensors.torch import save_file
from torch import Tensor, nn
from ziprerank.train.optim.optimisation import Optimisation
from ziprerank.train.run.loop import run


class Toy:
    """Dropout makes the result depend on the random state."""

    def __init__(self, seed: int = 0, *, hang_at: int | None = None, dropout: float = 0.2) -> None:
        torch.manual_seed(seed)
        self.name = "toy"
        self.seed, self.hang_at = seed, hang_at
        self.settings: dict[str, Any] = {"shape": [8, 16]}
        self.module = nn.Sequential(
            nn.Linear(8, 16), nn.LayerNorm(16), nn.Dropout(dropout), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1)
        )
        self.module.register_parameter("sometimes", nn.Parameter(torch.ones(1)))
        self.asked: list[int] = []
        self.progress: list[float] = []

    def batch(self, step: int) -> dict[str, Tensor]:
        self.asked.append(step)
        generator = torch.Generator().manual_seed(1000 * self.seed + step)
        inputs = torch.randn(4, 8, generator=generator)
        return {"inputs": inputs, "targets": inputs.prod(1, keepdim=True).sign(), "odd": torch.tensor(step % 2)}

    def loss(self, batch: dict[str, Tensor], progress: float) -> tuple[Tensor, dict[str, float]]:
        if len(self.progress) == self.hang_at:  # until the process is killed
            threading.Event().wait()
        self.progress.append(progress)
        outputs = self.module(batch["inputs"])
        if batch["odd"]:  # a parameter that only every second micro-batch uses
            outputs = outputs * self.module.sometimes
        loss = (outputs - batch["targets"]).square().mean()
        return loss, {"targets": float(batch["targets"].mean())}

    def evaluate(self, step: int) -> dict[str, float]:
        return {"evaluated_at": float(step)}

    def save(self, directory: Path) -> None:
        save_file(self.module.state_dict(), directory / "model.safetensors")


SETTINGS: dict[str, Any] = {"steps": 24, "lr": 0.02, "accumulate": 2, "warmup": 3, "save_every": 4, "log_every": 5}


def launch_two(arguments: list[str]) -> list[subprocess.Popen[bytes]]:
    """A Python program in two processes, with the environment that accelerate's launcher gives those on GPUs."""
    port = str(free_port())
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen([sys.executable, *arguments], env={**shared, "RANK": rank, "LOCAL_RANK": rank})
        for rank in ("0", "1")
    ]


if __name__ == "__main__":
    torch.set_num_threads(1)
    out, hang_at, dropout, accumulate = sys.argv[1:]
    settings = {**SETTINGS, "accumulate": int(accumulate)}
    run(Toy(hang_at=int(hang_at), dropout=float(dropout)), Optimisation(**settings), Path(out), seed=3)
