"""A whole training: a checkpoint, and stages that are run one after the other, each from the result of the last."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from ziprerank.train.errors import TrainError
from ziprerank.train.optim.optimisation import Optimisation

from .loop import Task, run
from .state import replace
from .typed_yaml import fill, override, plain, read_yaml

Weights = Literal["fp32", "fp16", "bf16"]

STAGES = {
    "listwise": ("listwise", "ListwiseStage"),
    "pages": ("pages", "PagesStage"),
    "reading": ("reading", "ReadingStage"),
    "construct": ("construct", "ConstructStage"),
    "matching": ("matching", "MatchingStage"),
}
"""Name in a recipe -> module in `ziprerank.train.stages` and class. Modules are imported when a recipe names them."""


class Stage(Protocol):
    """Settings of a stage: a frozen dataclass that makes its task."""

    def task(self, checkpoint: str, *, seed: int, weights: Weights) -> Task:
        """The task on a checkpoint (a directory or hub id), which saves its result with weights of that type.

        A task that knows its data's size has ``__len__``: examples of an epoch, one a micro-batch.
        """
        ...


@runtime_checkable
class UntrainedStage(Protocol):
    """Settings of a stage that makes its result without steps, and so has no ``optimisation``."""

    def build(self, checkpoint: str, directory: Path) -> None:
        """Writes the result to ``directory``."""
        ...


@dataclass(frozen=True)
class PlannedStage:
    """A stage and how it is optimised.

    With ``epochs`` the steps follow from the data, and with ``batch`` accumulation from the number of processes.
    """

    name: str
    stage: Stage | UntrainedStage
    optimisation: Mapping[str, Any]
    epochs: float | None
    batch: int | None
    where: str

    def settings(self, task: Task, world: int) -> Optimisation:
        """Raises TrainError where the parts contradict one another."""
        given = dict(self.optimisation)
        if self.batch is not None:
            if self.batch < 1 or self.batch % world:
                raise TrainError(f"{self.where}.batch is {self.batch}: it must be a multiple of the {world} processes")
            given["accumulate"] = self.batch // world
        if self.epochs is not None:
            size = getattr(task, "__len__", None)
            if size is None:
                raise TrainError(f"{self.where}.epochs: the stage {self.name} draws its data, give optimisation.steps")
            batch = given.get("accumulate", 1) * world
            given["steps"] = max(1, math.ceil(self.epochs * size() / batch))
        return fill(Optimisation, given, f"{self.where}.optimisation")


@dataclass(frozen=True)
class RecipeConfig:
    """A recipe.

    Attributes:
        checkpoint: what the first stage starts from: a directory in Hugging Face format, or a hub id.
        output: directory; stage i works in ``output/i-name``, its result is ``output/i-name/model``.
        seed: of everything that is drawn.
        weights: type of the last stage's saved weights; earlier ones save float32.
        stages: in order.
    """

    checkpoint: str
    output: Path
    seed: int
    weights: Weights
    stages: tuple[PlannedStage, ...]

    @property
    def directories(self) -> tuple[Path, ...]:
        """Where each stage works."""
        return tuple(self.output / f"{number}-{stage.name}" for number, stage in enumerate(self.stages))

    @property
    def result(self) -> Path:
        """The trained checkpoint, once the last stage is finished."""
        return self.directories[-1] / "model"


@dataclass(frozen=True, kw_only=True)
class _Head:
    checkpoint: str
    output: Path
    seed: int = 0
    weights: Weights = "bf16"


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> RecipeConfig:
    """Read and check a recipe in YAML; ``overrides`` as `ziprerank.train.run.typed_yaml.override`.

    Relative paths in it are relative to the working directory.

    Raises:
        TrainError: names the file and the key at fault.
    """
    content = read_yaml(path)
    override(content, overrides)
    stages = content.pop("stages", None)
    if not isinstance(stages, list) or not stages:
        raise TrainError(f"{path}: 'stages' must be a list of at least one stage")
    head = fill(_Head, content, str(path))
    planned = tuple(_stage(stage, f"{path}: stages[{number}]") for number, stage in enumerate(stages))
    return RecipeConfig(head.checkpoint, head.output, head.seed, head.weights, planned)


def run_recipe(recipe: RecipeConfig) -> Path:
    """Run the stages that are not finished, and return the last one's result.

    Raises:
        TrainError: see `ziprerank.train.run.loop.run`.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    result: str | Path = recipe.checkpoint
    for number, (planned, directory) in enumerate(zip(recipe.stages, recipe.directories, strict=True)):
        if isinstance(planned.stage, UntrainedStage):
            if world > 1 and not (directory / "finished.json").exists():
                raise TrainError(
                    f"{planned.where}: run the stage {planned.name} in one process, then go on with {world}"
                )
            _build(planned.stage, str(result), directory)
            result = directory / "model"
            continue
        last = number == len(recipe.stages) - 1
        task = planned.stage.task(str(result), seed=recipe.seed + number, weights=recipe.weights if last else "fp32")
        run(task, planned.settings(task, world), directory, seed=recipe.seed + number)
        result = directory / "model"
    return recipe.result


def _build(stage: UntrainedStage, checkpoint: str, directory: Path) -> None:
    """In ``directory/model``, whole or not at all; once."""
    settings, finished = {"settings": plain(stage)}, directory / "finished.json"
    if finished.exists():
        if json.loads(finished.read_text(encoding="utf-8")) != settings:
            raise TrainError(f"{finished} was made with other settings: restore them, or begin anew with --restart")
        return
    unfinished = directory / ".model"
    for left in (unfinished, directory / "model"):
        shutil.rmtree(left, ignore_errors=True)
    stage.build(checkpoint, unfinished)
    unfinished.replace(directory / "model")
    replace(finished, json.dumps(settings, indent=2) + "\n")


def _stage(content: Any, where: str) -> PlannedStage:
    if not isinstance(content, Mapping):
        raise TrainError(f"{where} is {content!r:.60}: it must be a mapping")
    rest = dict(content)
    name = rest.pop("stage", None)
    if name not in STAGES:
        raise TrainError(f"{where}.stage is {name!r}: use one of {', '.join(STAGES)}")
    module, class_name = STAGES[name]
    kind = getattr(import_module(f"ziprerank.train.stages.{module}"), class_name)
    if issubclass(kind, UntrainedStage):
        return PlannedStage(name, fill(kind, rest, where), {}, None, None, where)
    optimisation = rest.pop("optimisation", None)
    if not isinstance(optimisation, Mapping):
        raise TrainError(f"{where}.optimisation is {optimisation!r:.60}: it must be a mapping")
    epochs, batch = rest.pop("epochs", None), rest.pop("batch", None)
    if epochs is not None and not (type(epochs) in (int, float) and epochs > 0):
        raise TrainError(f"{where}.epochs is {epochs!r}: it must be a number above 0")
    if batch is not None and type(batch) is not int:
        raise TrainError(f"{where}.batch is {batch!r}: it must be an integer")
    for key, other in (("steps", epochs), ("accumulate", batch)):
        if other is not None and key in optimisation:
            instead = "epochs" if key == "steps" else "batch"
            raise TrainError(f"{where}: optimisation.{key} and {instead} say the same: give one of them")
    # steps are not known yet where epochs are given; everything else is checked before any data is read
    fill(Optimisation, {"steps": 2**62, **optimisation} if epochs else optimisation, f"{where}.optimisation")
    stage: Stage = fill(kind, rest, where)
    return PlannedStage(name, stage, dict(optimisation), epochs, batch, where)
