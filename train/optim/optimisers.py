"""Which optimiser updates which parameter, and the learning rate of a step."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import cos, pi
from typing import Any

import torch
from torch import Tensor, nn
from ziprerank.train.errors import TrainError

from .muon import Muon
from .optimisation import Optimisation

Group = dict[str, Any]


def rate(step: int, settings: Optimisation) -> float:
    """Fraction of ``lr`` used at optimiser step ``step`` (from 0): linear warmup, then the schedule.

    cosine: ``final + (1 - final) * (1 + cos(pi * t)) / 2`` with ``t`` the part of the remaining steps that is done;
    linear: ``1 - (1 - final) * t``.
    """
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    done = (step - settings.warmup) / (settings.steps - settings.warmup)
    if settings.schedule == "constant":
        return 1.0
    if settings.schedule == "linear":
        return 1 - (1 - settings.final_lr) * done
    return settings.final_lr + (1 - settings.final_lr) * (1 + cos(pi * done)) / 2


def set_rate(optimisers: Collection[torch.optim.Optimizer], step: int, settings: Optimisation) -> float:
    """Set every group to its rate at ``step``; returns the rate of a group without a multiplier of its own."""
    lr = settings.lr * rate(step, settings)
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = lr * group["scale"]
    return lr


def build(
    module: nn.Module,
    settings: Optimisation,
    *,
    no_muon: Collection[str] = (),
    lr_scale: Mapping[str, float] | None = None,
) -> list[torch.optim.Optimizer]:
    """Optimisers over the parameters of ``module`` that require a gradient.

    Weight decay is for parameters of two or more dimensions that are no embedding. With ``muon`` the 2-D ones among
    them, but for the output head and names starting with an entry of ``no_muon``, go to Muon; its updates are scaled to
    AdamW's size, so that one learning rate serves both.

    Args:
        module: its parameters' names are what the prefixes refer to.
        settings: rate, decay and kind of optimiser.
        no_muon: prefixes of names that AdamW takes in any case.
        lr_scale: multiplier of the learning rate by prefix; the longest prefix that fits counts.

    Raises:
        TrainError: nothing to train, or a prefix of ``lr_scale`` that fits no trained parameter.
    """
    trained = {name: value for name, value in module.named_parameters() if value.requires_grad}
    if not trained:
        raise TrainError("no parameter requires a gradient: there is nothing to train")
    scales = dict(lr_scale or {})
    for prefix in scales:
        if not any(name.startswith(prefix) for name in trained):
            raise TrainError(f"lr_scale names {prefix!r}: no trained parameter starts with it")
    plain = _embeddings(module)

    groups: dict[tuple[bool, float, float], list[nn.Parameter]] = {}
    for name, parameter in trained.items():
        matrix = parameter.dim() >= 2 and not any(parameter is other for other in plain)
        muon = (
            settings.optimiser == "muon"
            and matrix
            and parameter.dim() == 2
            and "lm_head" not in name.split(".")
            and not any(name.startswith(prefix) for prefix in no_muon)
        )
        fitting = [prefix for prefix in scales if name.startswith(prefix)]
        scale = scales[max(fitting, key=len)] if fitting else 1.0
        decay = settings.weight_decay if matrix else 0.0
        groups.setdefault((muon, scale, decay), []).append(parameter)

    def of(muon: bool) -> list[Group]:
        return [
            {"params": params, "scale": scale, "weight_decay": decay}
            for (kind, scale, decay), params in groups.items()
            if kind == muon
        ]

    optimisers: list[torch.optim.Optimizer] = []
    if hidden := of(True):
        optimisers.append(Muon(hidden, lr=settings.lr))
    if rest := of(False):
        # one fused kernel for all parameters: the update of a small model costs as much as its forward pass otherwise
        optimisers.append(torch.optim.AdamW(rest, lr=settings.lr, betas=settings.betas, fused=True))
    return optimisers


def _embeddings(module: nn.Module) -> list[Tensor]:
    return [part.weight for part in module.modules() if isinstance(part, nn.Embedding)]
