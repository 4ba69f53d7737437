"""A tower that reads, pointed at another table of token embeddings without a step of training.

The layers below say which words are under a visual token; only the last one says where the table has them. So a tower
that has read one vocabulary goes on with another from the weighted least-squares solution for that layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .reading import BLANK_TOKEN, BLANK_WEIGHT, Reading, ReadingBatch

BATCHES = 30
"""More than enough: 30,000 visual tokens for the thousand values that go into the small model's last layer."""
_RIDGE = 1e-4  # of the mean square of those values


@torch.no_grad()
def fit_last_layer(reading: Reading, batches: int = BATCHES) -> None:
    """Replace the tower's last layer by the map from what goes into it to the embeddings under each visual token.

    The map is fitted on the stage's micro-batches 0 to ``batches - 1``, in float64. A visual token counts as much as in
    the stage's loss; its target is the mean of the embeddings of its tokens, by their shares.
    """
    last: nn.Linear = reading.reader.tower.visual.merger.linear_fc2
    size = last.in_features + 1  # the bias is the weight of a value that is always 1
    square = torch.zeros(size, size, dtype=torch.float64)
    product = torch.zeros(size, last.out_features, dtype=torch.float64)
    seen: list[Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, values: seen.append(values[0]))
    try:
        for step in range(batches):
            batch = reading.batch(step)
            reading.reader(batch.pixels, read=True)
            values = seen.pop().flatten(0, -2).double()
            values = torch.cat([values, torch.ones(len(values), 1, dtype=torch.float64)], dim=1)
            target, weight = _targets(batch, reading.reader.embeddings)
            square += values.T @ (weight[:, None] * values)
            product += values.T @ (weight[:, None] * target)
    finally:
        hook.remove()
    ridge = _RIDGE * square.diagonal()[:-1].mean()
    square.diagonal()[:-1].add_(ridge)
    found = torch.linalg.solve(square, product)
    last.weight.copy_(found[:-1].T)
    last.bias.copy_(found[-1])


def _targets(batch: ReadingBatch, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """What each visual token of the batch is to be, ``[n, H]`` float64, and how much it counts, ``[n]`` float64."""
    count = len(torch.unique(batch.cell)) + len(batch.blank)
    weight = torch.zeros(count, dtype=torch.float64).index_add_(0, batch.cell, batch.weight.double())
    shares = batch.weight.double() / weight[batch.cell]
    target = torch.zeros(count, embeddings.shape[1], dtype=torch.float64)
    target.index_add_(0, batch.cell, shares[:, None] * embeddings[batch.token].double())
    target[batch.blank] = embeddings[BLANK_TOKEN].double()
    weight = weight.clamp(max=1.0)
    weight[batch.blank] = BLANK_WEIGHT * weight.sum() / max(1, len(batch.blank))
    return target, weight
