"""A module divided between processes (PyTorch's FSDP, second version), and its state made whole for checkpoints."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def divide(root: nn.Module) -> None:
    """Divide ``root``: each layer in a ``ModuleList`` is gathered on its own, when it runs; the rest with ``root``.

    Whatever uses a parameter must run inside ``root``'s forward. Gradients come out averaged over the processes.
    """
    for part in list(root.modules()):
        if isinstance(part, nn.ModuleList):
            for layer in part:
                fully_shard(layer)
    fully_shard(root)


def undivide(root: nn.Module) -> None:
    """Every parameter whole again, on the CPU, for saving; nothing can be run or trained after that."""
    made: dict[int, nn.Parameter] = {}  # tied parameters stay one
    for part in root.modules():
        if isinstance(part, FSDPModule):
            part.reshard()
    for part in root.modules():
        for name, parameter in part.named_parameters(recurse=False):
            if id(parameter) not in made:
                made[id(parameter)] = nn.Parameter(whole(parameter.detach()), requires_grad=parameter.requires_grad)
            # not unshard(): FSDP divides again whenever a state_dict is asked for
            setattr(part, name, made[id(parameter)])


def whole(value: Any) -> Any:
    """A state with divided tensors put together, on the CPU. Every process must call it with the same structure."""
    if isinstance(value, DTensor):
        return value.full_tensor().cpu()
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return value


def part_of(value: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor, divided as ``like`` is; a tensor that is not divided stays as it is."""
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    device = like.device_mesh.device_type
    return distribute_tensor(value.to(device), like.device_mesh, like.placements, src_data_rank=None)


def parts_of_optimiser(state: dict[str, Any], optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """A whole ``state_dict`` of an optimiser, divided as its parameters are."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    return {
        **state,
        "state": {
            number: {
                name: part_of(value, parameters[number]) if isinstance(value, Tensor) else value
                for name, value in values.items()
            }
            for number, values in state["state"].items()
        },
    }
