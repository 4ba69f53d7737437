"""The two ranking losses of ZipRerank: RankNet over a teacher's order, and cross entropy against a decaying target."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from ziprerank.train.errors import TrainError

DECAY = 0.5
"""What a place in the order weighs against the one before it, in `order_target`."""

TARGET_TOLERANCE = 1e-3
"""How far a row of targets may be from the sum 1; bfloat16 targets are within it."""


def ranknet(logits: Tensor, ranks: Tensor, mask: Tensor, *, weighted: bool = True) -> Tensor:
    """RankNet: of each pair with a better and a worse candidate, how much the scores contradict it.

    For scores ``s`` and ranks ``r`` of one list, the mean over the pairs ``(i, j)`` with ``r_i < r_j`` of

        w_ij * log(1 + exp(s_j - s_i)),    w_ij = 1 / ((r_i + 1) + (r_j + 1)) if weighted, else 1

    and of those, the mean over the lists that have such a pair; tied candidates form none. The pairwise term is Burges
    et al. 2005 ("Learning to Rank using Gradient Descent"), the weight, with 1-based ranks, that of FIRST (Reddy et al.
    2024, arXiv 2406.15657), whose loss ZipRerank's first stage uses, times 10, beside the language-model
    loss. The weights are not normalised: the mean divides by the number of pairs, not by the sum of weights.

    Our reading, where the papers leave a choice: ranks are the teacher's and not those of sorted logits, so two
    candidates with equal logits still form a pair; tied candidates share a rank, and ranks need not be consecutive.

    Args:
        logits: ``[B, K]`` floating; float64 is computed in float64, everything else in float32.
        ranks: ``[B, K]`` integer, 0 is best, equal is tied; what absent candidates hold is ignored.
        mask: ``[B, K]`` bool, which candidates are present; logits of absent ones may be anything, infinite too.

    Returns:
        A scalar, 0 (with zero gradient) if no list has a pair.

    Raises:
        TrainError: shapes or types do not fit, or a present candidate's rank is negative.
    """
    scores = _scores(logits, mask)
    if ranks.shape != logits.shape or ranks.is_floating_point():
        raise TrainError(f"ranks are {ranks.dtype} {list(ranks.shape)}: give integers {list(logits.shape)}")
    if bool((mask & (ranks < 0)).any()):
        raise TrainError(f"a rank is {int(ranks[mask].min())}: ranks begin at 0, the best")
    # [B, K, K] bool: [b, better, worse]
    pairs = (ranks[:, :, None] < ranks[:, None, :]) & mask[:, :, None] & mask[:, None, :]
    losses = -F.logsigmoid(scores[:, :, None] - scores[:, None, :])
    if weighted:
        places = ranks.masked_fill(~mask, 0).to(scores.dtype) + 1
        losses = losses / (places[:, :, None] + places[:, None, :])
    count = pairs.sum(dim=(1, 2))  # [B]
    lists = (losses * pairs).sum(dim=(1, 2)) / count.clamp_min(1)
    return lists.sum() / (count > 0).sum().clamp_min(1)


def soft_ranking(logits: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Cross entropy between the softmax of the present candidates' logits and ``targets``, mean over the lists.

    ZipRerank's second stage (arXiv 2605.11864), with targets from `order_target`.

    Args:
        logits: ``[B, K]`` floating; float64 is computed in float64, everything else in float32.
        targets: ``[B, K]``, each row a distribution over its present candidates: 0 for absent ones, sum 1.
        mask: ``[B, K]`` bool, which candidates are present; logits of absent ones may be anything, infinite too.

    Returns:
        A scalar, at least the mean entropy of the targets.

    Raises:
        TrainError: shapes do not fit, a list has no candidate, or a row of targets is no distribution over its own.
    """
    scores = _scores(logits, mask)
    if targets.shape != logits.shape:
        raise TrainError(f"targets are {list(targets.shape)}: give {list(logits.shape)}, a row for each list")
    present = mask.any(dim=1)
    if not bool(present.all()):
        raise TrainError(f"list {int((~present).nonzero()[0])} of the batch has no candidate: give at least one")
    targets = targets.to(scores.dtype)
    strays = (targets < 0) | (~mask & (targets != 0))
    if bool(strays.any()):
        row, column = strays.nonzero()[0].tolist()
        value = float(targets[row, column])
        raise TrainError(f"target of candidate {column} in list {row} is {value:g}: give 0 if absent, never less")
    sums = targets.sum(dim=1)
    wrong = ~((sums - 1).abs() <= TARGET_TOLERANCE)  # so that a sum of nan is wrong too
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise TrainError(f"targets of list {row} sum to {float(sums[row]):g}: normalise them to 1")
    # absent candidates leave the softmax by the lowest finite score, not -inf: 0 * -inf would be nan
    likelihood = F.log_softmax(scores.masked_fill(~mask, torch.finfo(scores.dtype).min), dim=1)
    return -(targets * likelihood.masked_fill(~mask, 0.0)).sum(dim=1).mean()


def order_target(order: Sequence[int], truths: Collection[int], count: int) -> Tensor:
    """The target of `soft_ranking`: ``0.5 ** position`` of each candidate, normalised to 1.

    Positions: the ground truths in the teacher's order, then the others in the teacher's order (arXiv 2605.11864,
    position decay 0.5). Our reading for candidates that the teacher left out: truths it left out come behind those it
    named, others at the very end, and where several are left out they share the weight of their places equally, which
    is the mean over all orders they could have; no candidate's target is 0.

    Args:
        order: candidates, best first; may be partial, or empty.
        truths: candidates that answer the query; may be empty.
        count: number of candidates.

    Returns:
        ``[count]`` float32, sum 1.

    Raises:
        TrainError: there is no candidate, a number is not that of a candidate, or one is named twice.
    """
    if count < 1:
        raise TrainError(f"{count} candidates: a target needs at least one")
    for name, numbers in (("order", order), ("truths", truths)):
        if len(set(numbers)) != len(numbers) or not all(0 <= number < count for number in numbers):
            raise TrainError(f"{name} is {list(numbers)}: name each of the candidates 0..{count - 1} at most once")
    named, true = set(order), set(truths)
    groups = [
        *([candidate] for candidate in order if candidate in true),
        sorted(true - named),
        *([candidate] for candidate in order if candidate not in true),
        sorted(set(range(count)) - named - true),
    ]
    weights = torch.zeros(count, dtype=torch.float64)
    position = 0
    for group in groups:
        if group:
            places = range(position, position + len(group))
            weights[group] = sum(DECAY**place for place in places) / len(group)
            position += len(group)
    return (weights / weights.sum()).float()


def _scores(logits: Tensor, mask: Tensor) -> Tensor:
    """The logits in float32 or float64, 0 where there is no candidate, so that padding reaches no gradient."""
    if logits.dim() != 2 or not logits.is_floating_point():
        raise TrainError(f"logits are {logits.dtype} {list(logits.shape)}: give floating point [B, K]")
    if mask.shape != logits.shape or mask.dtype != torch.bool:
        raise TrainError(f"the mask is {mask.dtype} {list(mask.shape)}: give bool {list(logits.shape)}")
    scores = logits if logits.dtype == torch.float64 else logits.float()
    return scores.masked_fill(~mask, 0.0)
