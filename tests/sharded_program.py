"""One of two processes that train the last stage of a recipe, are told to stop half way, and go on."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from ziprerank.train.run.loop import run
from ziprerank.train.run.recipe import read_recipe


def main(path: Path) -> None:
    recipe = read_recipe(path)
    planned, directory = recipe.stages[-1], recipe.directories[-1]

    def train(stop: bool) -> None:
        task: Any = planned.stage.task(recipe.checkpoint, seed=recipe.seed, weights=recipe.weights)
        loss = task.loss

        def stopping(batch: Any, progress: float) -> Any:
            if progress >= 0.5 and os.environ["RANK"] == "1":  # the other one must hear of it
                os.kill(os.getpid(), signal.SIGTERM)
            return loss(batch, progress)

        if stop:
            task.loss = stopping
        run(task, planned.settings(task, 2), directory, seed=recipe.seed)

    try:
        train(stop=True)
    except SystemExit:
        assert not (directory / "finished.json").exists()
    else:
        raise AssertionError("it was not stopped")
    train(stop=False)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
