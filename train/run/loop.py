"""The training loop of every stage: it can be killed at any moment and goes on where its last checkpoint was."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from ziprerank.train.errors import TrainError
from ziprerank.train.optim.optimisation import ADVISORY, Optimisation
from ziprerank.train.optim.optimisers import build, set_rate

from . import shards, state
from .batches import ahead, move
from .log import Log, Means
from .processes import Processes


class Task(Protocol):
    """One stage: what is trained, on what, with which loss.

    A task may also define

    - ``no_muon: set[str]`` and ``lr_scale: dict[str, float]``: prefixes of parameter names (`optimisers.build`);
    - ``settings: dict[str, Any]`` of JSON values: its own settings, which a resumed run must share;
    - ``check(settings)``: raises TrainError where it cannot be optimised like that;
    - ``evaluate(step) -> dict[str, float]``: called every ``evaluate_every`` steps without gradients, and logged. With
      several processes every one calls it.
    """

    name: str
    module: nn.Module
    """its parameters that require a gradient are trained"""

    def batch(self, step: int) -> Any:
        """The micro-batch with number ``step``: a function of the task's seed and ``step`` and nothing else.

        Called ahead, in a thread: it must not draw from a global random generator. The tensors in it (also in tuples,
        lists, dicts and dataclasses) are moved to the module's device.
        """
        ...

    def loss(self, batch: Any, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Scalar loss and what to log beside it; ``progress`` is the share of the steps that is done, in [0, 1)."""
        ...

    def save(self, directory: Path) -> None:
        """Write the final checkpoint, in Hugging Face format, into an empty directory."""
        ...


def run(task: Task, settings: Optimisation, directory: Path, *, seed: int) -> None:
    """Train ``task`` and leave its result in ``directory/model``.

    In ``directory``: ``log.csv``, ``checkpoints/`` (the last two), ``finished.json`` once the result is written. Run
    again it goes on from the newest checkpoint that is whole, or returns at once when the stage is finished. SIGTERM
    and SIGINT save a checkpoint after the step that is running and exit with 128 + the signal's number.

    With N processes (``accelerate launch``), process r takes micro-batch ``number * N + r``, so that the result is that
    of one process with N times the accumulation, to rounding.

    Raises:
        TrainError: settings differ from those of the checkpoint, a loss or gradient is not finite, or nothing requires
            a gradient.
    """
    processes = Processes()
    facts = _facts(task, settings, processes.world, seed)
    if (finished := directory / "finished.json").exists():
        _compare(facts, json.loads(finished.read_text(encoding="utf-8"))["settings"], finished)
        return
    directory.mkdir(parents=True, exist_ok=True)
    _Run(task, settings, directory, seed, facts, processes).train()


def checkpoint_activations(module: nn.Module) -> None:
    """Let a module of transformers compute activations again in the backward pass.

    Raises:
        TrainError: the module has no such mode.
    """
    # transformers 5.23 renamed the method and warns of the older name
    for name, keyword in (
        ("activation_checkpointing_enable", "activation_checkpointing_kwargs"),
        ("gradient_checkpointing_enable", "gradient_checkpointing_kwargs"),
    ):
        if enable := getattr(module, name, None):
            enable(**{keyword: {"use_reentrant": False}})
            return
    raise TrainError(f"gradient_checkpointing: {type(module).__name__} has no such mode, set it to false")


class _Run:
    def __init__(
        self,
        task: Task,
        settings: Optimisation,
        directory: Path,
        seed: int,
        facts: dict[str, Any],
        processes: Processes,
    ) -> None:
        self.task, self.settings, self.directory, self.facts, self.processes = (
            task,
            settings,
            directory,
            facts,
            processes,
        )
        if check := getattr(task, "check", None):
            check(settings)
        self.console = Console(stderr=True, quiet=not processes.main)
        self.module = task.module.to(processes.device)
        self.module.train()
        if settings.gradient_checkpointing:
            checkpoint_activations(self.module)
        processes.broadcast(self.module)
        self.loss = _Loss(task)
        if settings.shard:
            if processes.world == 1:
                raise TrainError(
                    "shard is true with one process: start several with accelerate launch, or set it to false"
                )
            shards.divide(self.loss)
        self.optimisers = build(
            self.module,
            settings,
            no_muon=getattr(task, "no_muon", ()),
            lr_scale=getattr(task, "lr_scale", None),
        )
        self.trained = {name: value for name, value in self.module.named_parameters() if value.requires_grad}
        self.step, self.seconds = 0, 0.0
        state.seed_everything(seed + processes.rank)
        self._resume()

    def train(self) -> None:
        settings, processes = self.settings, self.processes
        log = Log(self.directory, self.step, tensorboard=settings.tensorboard) if processes.main else None
        started = saved = time.monotonic()
        begun = self.seconds
        means = Means()
        first = self.step * settings.accumulate
        with _signals() as received, self._progress() as show, ahead(self._batch, first, self._last()) as batches:
            while self.step < settings.steps:
                lr = set_rate(self.optimisers, self.step, settings)
                means.add(self._update(batches))
                self.step += 1
                show(self.step, means)
                self.seconds = begun + time.monotonic() - started
                done = self.step == settings.steps
                values: dict[str, float] = {}
                if settings.evaluate_every and (done or self.step % settings.evaluate_every == 0):
                    values = self._evaluate()
                if done or values or self.step % settings.log_every == 0:
                    row = {"step": self.step, "loss": processes.mean(means.take("loss")), "lr": lr}
                    row |= {"seconds": round(self.seconds, 1), **means.take_all(), **values}
                    if log is not None:
                        log.write(row)
                late = settings.save_minutes > 0 and time.monotonic() - saved > 60 * settings.save_minutes
                late, stop = processes.any(late, bool(received))
                if done or late or stop or (settings.save_every and self.step % settings.save_every == 0):
                    self._save()
                    saved = time.monotonic()
                if stop and not done:
                    self.console.print(f"{self.task.name}: stopped after step {self.step} of {settings.steps}, saved")
                    raise SystemExit(128 + (received[0] if received else signal.SIGTERM))
        if log is not None:
            log.close()
        self._finish()

    def _update(self, batches: Iterator[Any]) -> dict[str, float]:
        """One optimiser step; what to log, as means over its micro-batches."""
        settings, device = self.settings, self.processes.device
        means = Means()
        for _ in range(settings.accumulate):
            batch = move(next(batches), device)
            with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                loss, values = self.loss(batch, self.step / settings.steps)
            number = float(loss.detach())
            if not isfinite(number):
                raise TrainError(self._not_finite("loss", number))
            (loss / settings.accumulate).backward()
            means.add({"loss": number, **values})
        if not settings.shard:
            self.processes.average_gradients(self.trained.values())
        if settings.clip:
            norm = float(shards.whole(nn.utils.clip_grad_norm_(self.trained.values(), settings.clip)))
            if not isfinite(norm):
                raise TrainError(self._not_finite("norm of the gradient", norm))
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        return means.take_all(keep_loss=True)

    def _evaluate(self) -> dict[str, float]:
        if not hasattr(self.task, "evaluate"):
            raise TrainError(
                f"evaluate_every is {self.settings.evaluate_every}: {self.task.name} has no evaluation, use 0"
            )
        self.module.train(False)
        with torch.no_grad():
            values: dict[str, float] = dict(self.loss(None, float(self.step), evaluate=True))
        self.module.train()
        return values

    def _batch(self, number: int) -> Any:
        return self.task.batch(number * self.processes.world + self.processes.rank)

    def _last(self) -> int:
        return self.settings.steps * self.settings.accumulate

    def _resume(self) -> None:
        found, skipped = state.newest(self.directory / "checkpoints")
        for reason in skipped:
            self.console.print(f"checkpoint passed over, it is not whole: {reason}")
        if found is None:
            return
        _compare(self.facts, found["settings"], self.directory / "checkpoints")
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(shards.part_of(found["parameters"][name], parameter))
            for name, buffer in self.module.named_buffers():
                if name in found["buffers"]:
                    buffer.copy_(found["buffers"][name])
        for optimiser, saved in zip(self.optimisers, found["optimisers"], strict=True):
            optimiser.load_state_dict(shards.parts_of_optimiser(saved, optimiser))
        self.step, self.seconds = found["step"], found["seconds"]
        if len(found["random"]) == self.processes.world:
            state.set_random_state(found["random"][self.processes.rank], self.processes.device)
        self.console.print(f"{self.task.name}: going on from step {self.step} of {self.settings.steps}")

    def _save(self) -> None:
        generators = self.processes.gather(state.random_state(self.processes.device))
        parameters = shards.whole({name: value.detach() for name, value in self.trained.items()})
        optimisers = shards.whole([optimiser.state_dict() for optimiser in self.optimisers])
        if self.processes.main:
            contents = {
                "step": self.step,
                "seconds": self.seconds,
                "settings": self.facts,
                "parameters": parameters,
                "buffers": dict(self.module.named_buffers()),
                "optimisers": optimisers,
                "random": generators,
            }
            state.write(self.directory / "checkpoints", self.step, contents)
        self.processes.wait()

    def _finish(self) -> None:
        if self.settings.shard:
            shards.undivide(self.loss)
        if self.processes.main:
            self.module.train(False)
            model, temporary = self.directory / "model", self.directory / ".model"
            for leftover in (temporary, model):
                shutil.rmtree(leftover, ignore_errors=True)
            temporary.mkdir()
            self.task.save(temporary)
            temporary.rename(model)
            facts = {"step": self.step, "seconds": round(self.seconds, 1), "settings": self.facts}
            state.replace(self.directory / "finished.json", json.dumps(facts, indent=2) + "\n")
        self.processes.wait()

    def _not_finite(self, what: str, value: float) -> str:
        return (
            f"{self.task.name}: the {what} is {value} at step {self.step}: lower lr, lengthen warmup or look at the "
            f"data; checkpoints before it are in {self.directory / 'checkpoints'}"
        )

    @contextmanager
    def _progress(self) -> Iterator[Callable[[int, Means], None]]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        shown = self.console.is_terminal and self.processes.main
        with Progress(*columns, console=self.console, disable=not shown) as bar:
            line = bar.add_task(self.task.name, total=self.settings.steps, completed=self.step)

            def show(step: int, means: Means) -> None:
                if shown:
                    bar.update(line, completed=step, description=f"{self.task.name}  loss {means.last:.4f}")

            yield show


class _Loss(nn.Module):
    """What a step computes, as one module's forward: FSDP gathers the parameters at its boundary."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task, self.module = task, task.module

    def forward(self, batch: Any, progress: float, *, evaluate: bool = False) -> Any:
        if evaluate:
            return self.task.evaluate(int(progress))  # type: ignore[attr-defined]
        return self.task.loss(batch, progress)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Signals that ask to stop, as they come; outside the main thread Python delivers none."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number: int, _: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt  # asked twice: do not wait for the step
        received.append(number)

    previous = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _facts(task: Task, settings: Optimisation, world: int, seed: int) -> dict[str, Any]:
    """What a resumed run must share with the one that wrote the checkpoint; JSON values."""
    fields = {name: value for name, value in dataclasses.asdict(settings).items() if name not in ADVISORY}
    fields["accumulate"] = settings.accumulate * world  # what counts is the batch
    facts = {"task": task.name, "seed": seed, **fields, **getattr(task, "settings", {})}
    plain: dict[str, Any] = json.loads(json.dumps(facts))
    return plain


def _compare(now: Mapping[str, Any], then: Mapping[str, Any], where: Path) -> None:
    for name in sorted({*now, *then}):
        if now.get(name) != then.get(name):
            unit = " micro-batches in all processes" if name == "accumulate" else ""
            raise TrainError(
                f"{name} is {now.get(name)!r}{unit}, {where} was made with {then.get(name)!r}: "
                "set it back, or train into another directory"
            )
