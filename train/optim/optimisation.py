"""Settings of a training run, checked where they are made."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Literal, get_args

from ziprerank.train.errors import TrainError

Schedule = Literal["cosine", "linear", "constant"]
Optimiser = Literal["adamw", "muon"]
Precision = Literal["fp32", "bf16"]

ADVISORY = (
    "save_every",
    "save_minutes",
    "log_every",
    "evaluate_every",
    "tensorboard",
    "gradient_checkpointing",
    "shard",
)
"""Fields of `Optimisation` that may differ between a run and its resumption: they do not change what is learnt."""


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """How one stage is optimised.

    Attributes:
        steps: optimiser steps.
        lr: peak learning rate; for Muon it is scaled to AdamW's update size.
        accumulate: micro-batches a process adds up in one step; the batch is that times the processes.
        schedule: what the rate does after the warmup, down to ``final_lr`` times ``lr``.
        final_lr: fraction of ``lr`` that the schedule ends at.
        warmup: steps over which the rate rises linearly.
        weight_decay: decoupled, on matrices other than embeddings.
        clip: largest norm of the gradient; 0 leaves it alone.
        optimiser: ``muon`` uses Muon for the hidden layers' matrices and AdamW for the rest.
        betas: AdamW's decay rates.
        precision: ``bf16`` runs the loss under autocast; parameters and optimiser stay as they were loaded.
        save_every: steps between checkpoints; 0: none but by time, on a signal and at the end.
        save_minutes: minutes between checkpoints; 0: never by time.
        log_every: steps between rows of ``log.csv``; a row holds means over them.
        evaluate_every: steps between calls of the task's ``evaluate``; 0: never.
        tensorboard: write the log for TensorBoard too, in ``tensorboard/``.
        gradient_checkpointing: compute activations again in the backward pass, to save memory.
        shard: divide parameters, gradients and optimiser between the processes (FSDP), for models that one device does
            not hold; with ``adamw`` only.
    """

    steps: int
    lr: float
    accumulate: int = 1
    schedule: Schedule = "cosine"
    final_lr: float = 0.0
    warmup: int = 0
    weight_decay: float = 0.0
    clip: float = 1.0
    optimiser: Optimiser = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    precision: Precision = "fp32"
    save_every: int = 0
    save_minutes: float = 15.0
    log_every: int = 10
    evaluate_every: int = 0
    tensorboard: bool = False
    gradient_checkpointing: bool = False
    shard: bool = False

    def __post_init__(self) -> None:
        for name, least in (
            ("steps", 1),
            ("accumulate", 1),
            ("log_every", 1),
            ("warmup", 0),
            ("save_every", 0),
            ("save_minutes", 0),
            ("evaluate_every", 0),
            ("weight_decay", 0),
            ("clip", 0),
        ):
            value = getattr(self, name)
            if not (value >= least and isfinite(value)):
                raise TrainError(f"{name} is {value}: must be at least {least}")
        if not (self.lr > 0 and isfinite(self.lr)):
            raise TrainError(f"lr is {self.lr}: must be above 0")
        if not 0 <= self.final_lr <= 1:
            raise TrainError(f"final_lr is {self.final_lr}: it is a fraction of lr, in 0..1")
        if self.warmup >= self.steps:
            raise TrainError(f"warmup is {self.warmup}: must be below steps, {self.steps}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise TrainError(f"betas are {self.betas}: two numbers in [0, 1)")
        if self.shard and self.optimiser != "adamw":
            raise TrainError(f"shard is true and optimiser {self.optimiser!r}: Muon needs whole matrices, use adamw")
        for name, choices in (
            ("schedule", get_args(Schedule)),
            ("optimiser", get_args(Optimiser)),
            ("precision", get_args(Precision)),
        ):
            if getattr(self, name) not in choices:
                raise TrainError(f"{name} is {getattr(self, name)!r}: use one of {', '.join(choices)}")
