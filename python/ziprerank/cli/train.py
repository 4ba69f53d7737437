"""``ziprerank train``: a recipe of stages on transformers' Qwen3-VL (extra ``train``)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ziprerank.cli.extras import needs_extra
from ziprerank.errors import InvalidInput

Config = Annotated[Path, typer.Option("--config", "-c", help="The recipe, in YAML.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override, such as stages.0.optimisation.steps=100.")]
Restart = Annotated[bool, typer.Option("--restart", help="Delete what the output directory holds and begin anew.")]
Check = Annotated[bool, typer.Option("--check", help="Read and check the recipe, and train nothing.")]


def train(config: Config, *, overrides: Set = None, restart: Restart = False, check: Check = False) -> None:
    """Train a checkpoint by a recipe; run again, it goes on where it was stopped.

    For several GPUs: accelerate launch -m ziprerank.cli train.
    """
    with needs_extra("train"):
        _train(config, overrides or [], restart, check)


def _train(config: Path, overrides: list[str], restart: bool, check: bool) -> None:
    from ziprerank.train.run.recipe import read_recipe, run_recipe

    recipe = read_recipe(config, overrides)
    main = int(os.environ.get("RANK", "0")) == 0
    console = Console(stderr=True, soft_wrap=True, quiet=not main)
    if check:
        console.print(f"{escape(str(config))}: {len(recipe.stages)} stages, result in {escape(str(recipe.result))}")
        return
    if restart:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise InvalidInput("--restart with several processes: delete the output directory first, and leave it out")
        for directory in recipe.directories:
            shutil.rmtree(directory, ignore_errors=True)
    result = run_recipe(recipe)
    console.print(f"{escape(str(result))}: trained; next: ziprerank export {escape(str(result))} BUNDLE")
