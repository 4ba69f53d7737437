from __future__ import annotations

import pytest
import torch
from torch import nn
from ziprerank.train.errors import TrainError
from ziprerank.train.optim.optimisation import Optimisation
from ziprerank.train.optim.optimisers import build, set_rate


def module() -> nn.ModuleDict:
    parts = nn.ModuleDict(
        {
            "embed": nn.Embedding(8, 4),
            "hidden": nn.Linear(4, 6),
            "kept_out": nn.Linear(6, 4),
            "norm": nn.LayerNorm(4),
            "patch": nn.Conv2d(3, 4, 2),
            "lm_head": nn.Linear(4, 8, bias=False),
            "frozen": nn.Linear(4, 4),
        }
    )
    parts["frozen"].requires_grad_(False)
    return parts


def assignment(optimisers: list[torch.optim.Optimizer], parts: nn.Module) -> dict[str, tuple[str, float, float]]:
    names = {id(value): name for name, value in parts.named_parameters()}
    return {
        names[id(parameter)]: (type(optimiser).__name__, group["scale"], group["weight_decay"])
        for optimiser in optimisers
        for group in optimiser.param_groups
        for parameter in group["params"]
    }


def test_parameters_and_their_optimisers() -> None:
    parts = module()
    settings = Optimisation(steps=1, lr=0.1, optimiser="muon", weight_decay=0.01)
    built = build(parts, settings, no_muon={"kept_out"}, lr_scale={"hidden": 2.0, "hidden.bias": 3.0})
    assert assignment(built, parts) == {
        "embed.weight": ("AdamW", 1.0, 0.0),
        "hidden.weight": ("Muon", 2.0, 0.01),
        "hidden.bias": ("AdamW", 3.0, 0.0),
        "kept_out.weight": ("AdamW", 1.0, 0.01),
        "kept_out.bias": ("AdamW", 1.0, 0.0),
        "norm.weight": ("AdamW", 1.0, 0.0),
        "norm.bias": ("AdamW", 1.0, 0.0),
        "patch.weight": ("AdamW", 1.0, 0.01),
        "patch.bias": ("AdamW", 1.0, 0.0),
        "lm_head.weight": ("AdamW", 1.0, 0.01),
    }


def test_tied_embedding_has_no_weight_decay() -> None:
    """The table is found once, under whichever name comes first."""
    head, table = nn.Linear(4, 8, bias=False), nn.Embedding(8, 4)
    head.weight = table.weight
    for parts in (nn.ModuleList([head, table]), nn.ModuleList([table, head])):
        built = build(parts, Optimisation(steps=1, lr=0.1, optimiser="muon", weight_decay=0.01))
        assert set(assignment(built, parts).values()) == {("AdamW", 1.0, 0.0)}


def test_rates_follow_warmup_schedule_and_scale() -> None:
    parts = module()
    for schedule, middle in (("cosine", 0.55), ("linear", 0.55), ("constant", 1.0)):
        settings = Optimisation(steps=12, lr=0.1, warmup=2, schedule=schedule, final_lr=0.1, optimiser="muon")  # type: ignore[arg-type]
        built = build(parts, settings, lr_scale={"hidden": 2.0})
        assert [set_rate(built, step, settings) for step in (0, 1, 7)] == pytest.approx([0.05, 0.1, 0.1 * middle])
        assert {round(group["lr"] / (0.1 * middle), 6) for each in built for group in each.param_groups} == {1.0, 2.0}


def test_nothing_to_train_and_unknown_prefix_are_refused() -> None:
    parts = module()
    settings = Optimisation(steps=1, lr=0.1)
    with pytest.raises(TrainError, match="'hiden'"):
        build(parts, settings, lr_scale={"hiden": 2.0})
    with pytest.raises(TrainError, match="nothing to train"):
        build(parts.requires_grad_(False), settings)


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", 0), ("lr", 0.0), ("lr", float("nan")), ("warmup", 5), ("final_lr", 1.5), ("clip", -1.0),
     ("schedule", "step"), ("precision", "fp16"), ("optimiser", "sgd"), ("betas", (0.9, 1.0))],
)  # fmt: skip
def test_settings_out_of_range_are_refused(field: str, value: object) -> None:
    with pytest.raises(TrainError, match=field):
        Optimisation(**{"steps": 5, "lr": 0.1, field: value})  # type: ignore[arg-type]
