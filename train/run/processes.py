"""One process, or several started by ``accelerate launch``: devices, gradients and decisions they share."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from ziprerank.train.errors import TrainError


class Processes:
    """The processes of a run. With one, nothing here needs accelerate or touches ``torch.distributed``.

    Gradients are averaged once per optimiser step, after accumulation, in flat buffers of 256 MB. That is simpler
    than buckets reduced during the backward pass and right for any loss: a parameter that a micro-batch does not use
    has gradient zero there, and no process has to know which ones those are.
    """

    def __init__(self) -> None:
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = 0
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self.world > 1:
            from accelerate import PartialState  # type: ignore[import-untyped]

            shared = PartialState(cpu=self.device.type == "cpu")
            if shared.num_processes != self.world:
                raise TrainError(f"{self.world} processes were started, accelerate sees {shared.num_processes}")
            self.rank, self.device = shared.process_index, shared.device

    @property
    def main(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over the processes; a missing one counts as zero."""
        if self.world == 1:
            return
        parameters = list(parameters)
        used = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.int32)
        used = used.to(self.device)
        torch.distributed.all_reduce(used)
        gradients = []
        for parameter, count in zip(parameters, used.tolist(), strict=True):
            if count:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        for bucket in _buckets(gradients):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            torch.distributed.all_reduce(flat)
            flat /= self.world
            for gradient, part in zip(bucket, torch.split(flat, [each.numel() for each in bucket]), strict=True):
                gradient.copy_(part.view_as(gradient))

    def mean(self, value: float) -> float:
        """Mean of a number over the processes."""
        if self.world == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64 if self.device.type == "cpu" else torch.float32)
        total = total.to(self.device)
        torch.distributed.all_reduce(total)
        return float(total) / self.world

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Of each flag, whether a process has set it: what they decide together, as saving, must be one decision."""
        if self.world == 1:
            return flags
        votes = torch.tensor(flags, dtype=torch.int32, device=self.device)
        torch.distributed.all_reduce(votes)
        return tuple(vote > 0 for vote in votes.tolist())

    def gather(self, value: Any) -> list[Any]:
        """The value of every process, by rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(values, value)
        return values

    def broadcast(self, module: nn.Module) -> None:
        """Start every process from the first one's parameters."""
        if self.world > 1:
            for parameter in module.parameters():
                torch.distributed.broadcast(parameter.data, 0)

    def wait(self) -> None:
        """Until every process is here."""
        if self.world > 1:
            torch.distributed.barrier()


def _buckets(gradients: list[Tensor], limit: int = 1 << 28) -> list[list[Tensor]]:
    buckets: list[list[Tensor]] = []
    size = 0
    for gradient in gradients:
        if not buckets or size + gradient.nbytes > limit or buckets[-1][0].dtype != gradient.dtype:
            buckets.append([])
            size = 0
        buckets[-1].append(gradient)
        size += gradient.nbytes
    return buckets
