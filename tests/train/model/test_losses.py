"""The ranking losses against plain Python in double precision, and their gradients against finite differences."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from functools import partial
from itertools import permutations

import pytest
import torch
from ziprerank.train.errors import TrainError
from ziprerank.train.model.losses import order_target, ranknet, soft_ranking


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _plain_ranknet(logits: list[list[float]], ranks: list[list[int]], mask: list[list[bool]], weighted: bool) -> float:
    lists = []
    for scores, places, present in zip(logits, ranks, mask, strict=True):
        terms = []
        for i, j in permutations(range(len(scores)), 2):
            if present[i] and present[j] and places[i] < places[j]:
                weight = 1 / (places[i] + 1 + places[j] + 1) if weighted else 1.0
                terms.append(weight * _softplus(scores[j] - scores[i]))
        if terms:
            lists.append(math.fsum(terms) / len(terms))
    return math.fsum(lists) / len(lists) if lists else 0.0


def _plain_soft(logits: list[list[float]], targets: list[list[float]], mask: list[list[bool]]) -> float:
    lists = []
    for scores, target, present in zip(logits, targets, mask, strict=True):
        there = [k for k in range(len(scores)) if present[k]]
        top = max(scores[k] for k in there)
        log_sum = top + math.log(math.fsum(math.exp(scores[k] - top) for k in there))
        lists.append(-math.fsum(target[k] * (scores[k] - log_sum) for k in there))
    return math.fsum(lists) / len(lists)


def _batch(seed: int, scale: float = 3.0) -> tuple[list[list[float]], list[list[int]], list[list[bool]]]:
    """Random lists: ranks with ties and gaps, candidates missing, among them lists of one candidate."""
    rng = random.Random(seed)
    size, count = rng.randint(1, 5), rng.randint(1, 9)
    logits = [[rng.gauss(0, scale) for _ in range(count)] for _ in range(size)]
    ranks = [[rng.randint(0, count) for _ in range(count)] for _ in range(size)]
    mask = [[rng.random() < 0.7 for _ in range(count)] for _ in range(size)]
    for row in mask:
        row[rng.randrange(count)] = True
    return logits, ranks, mask


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("seed", range(25))
def test_ranknet_is_the_sum_over_pairs(seed: int, weighted: bool) -> None:
    logits, ranks, mask = _batch(seed)
    want = _plain_ranknet(logits, ranks, mask, weighted)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-6)):
        got = ranknet(torch.tensor(logits, dtype=dtype), torch.tensor(ranks), torch.tensor(mask), weighted=weighted)
        assert got.dtype == dtype
        assert got.item() == pytest.approx(want, rel=tolerance, abs=tolerance)


def test_ranknet_of_two_candidates_by_hand() -> None:
    logits, mask = torch.tensor([[0.0, 2.0]]), torch.ones(1, 2, dtype=torch.bool)
    wrong = ranknet(logits, torch.tensor([[0, 1]]), mask)  # the better one has the lower score
    assert wrong.item() == pytest.approx(math.log(1 + math.exp(2.0)) / 3)  # weight 1 / (1 + 2)
    assert ranknet(logits, torch.tensor([[1, 0]]), mask).item() == pytest.approx(math.log(1 + math.exp(-2.0)) / 3)


def test_ranknet_of_ties_only_is_zero_and_trains_nothing() -> None:
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = ranknet(logits, torch.full((3, 4), 2), torch.ones(3, 4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros(3, 4))


def test_a_list_without_pairs_does_not_dilute_the_others() -> None:
    logits = torch.tensor([[1.0, -1.0, 0.5], [4.0, 5.0, 6.0]], dtype=torch.float64)
    ranks, mask = torch.tensor([[2, 0, 1], [0, 0, 0]]), torch.ones(2, 3, dtype=torch.bool)
    assert ranknet(logits, ranks, mask).item() == pytest.approx(ranknet(logits[:1], ranks[:1], mask[:1]).item())


@pytest.mark.parametrize("seed", range(25))
def test_soft_ranking_is_the_cross_entropy_over_present_candidates(seed: int) -> None:
    logits, _, mask = _batch(seed)
    rng = random.Random(seed)
    targets = []
    for present in mask:
        weights = [rng.random() * there for there in present]
        targets.append([weight / math.fsum(weights) for weight in weights])
    want = _plain_soft(logits, targets, mask)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-6)):
        got = soft_ranking(torch.tensor(logits, dtype=dtype), torch.tensor(targets, dtype=dtype), torch.tensor(mask))
        assert got.item() == pytest.approx(want, rel=tolerance, abs=tolerance)


def test_soft_ranking_is_least_where_the_softmax_is_the_target() -> None:
    target = order_target([2, 0, 1, 3], [1], 4)[None].double()
    mask = torch.ones(1, 4, dtype=torch.bool)
    logits = target.log().requires_grad_()
    soft_ranking(logits, target, mask).backward()
    assert logits.grad is not None
    assert logits.grad.abs().max().item() < 1e-7  # the target was rounded to float32


@pytest.mark.parametrize("weighted", [True, False])
def test_gradients_agree_with_finite_differences(weighted: bool) -> None:
    for seed in range(4):
        logits, ranks, mask = _batch(100 + seed)
        inputs = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
        present = torch.tensor(mask)
        places = torch.tensor(ranks)
        assert torch.autograd.gradcheck(partial(ranknet, ranks=places, mask=present, weighted=weighted), (inputs,))
        targets = present.double() / present.sum(dim=1, keepdim=True)
        assert torch.autograd.gradcheck(partial(soft_ranking, targets=targets, mask=present), (inputs,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_huge_and_absent_logits_are_safe(dtype: torch.dtype) -> None:
    values = [[1e4, -1e4, 0.0, math.inf], [-1e4, 1e4, -math.inf, math.nan]]
    mask = torch.tensor([[True, True, True, False], [True, True, False, False]])
    ranks = torch.tensor([[2, 0, 1, -7], [0, 1, 0, 0]])
    logits = torch.tensor(values, dtype=dtype, requires_grad=True)
    kept = logits.detach().double().tolist()
    targets = torch.tensor([[0.25, 0.5, 0.25, 0.0], [0.75, 0.25, 0.0, 0.0]])
    for loss, want in (
        (ranknet(logits, ranks, mask), _plain_ranknet(kept, ranks.tolist(), mask.tolist(), True)),
        (soft_ranking(logits, targets, mask), _plain_soft(kept, targets.tolist(), mask.tolist())),
    ):
        assert loss.item() == pytest.approx(want, rel=1e-5)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert gradient.isfinite().all()
        assert gradient[~mask].count_nonzero() == 0


def _completions(order: list[int], truths: set[int], count: int) -> list[float]:
    """The mean target over every order of all candidates that the teacher's partial one can be part of, exactly."""
    total = [Fraction(0)] * count
    missing = [k for k in range(count) if k not in order]
    orders = list(permutations(missing))
    for rest in orders:
        full = [*order, *rest]
        ranked = [k for k in full if k in truths] + [k for k in full if k not in truths]
        for position, candidate in enumerate(ranked):
            total[candidate] += Fraction(1, 2**position)
    return [float(value / sum(total)) for value in total]


@pytest.mark.parametrize("seed", range(20))
def test_order_target_is_the_mean_over_completions_with_truths_first(seed: int) -> None:
    rng = random.Random(seed)
    count = rng.randint(1, 6)
    order = rng.sample(range(count), rng.randint(0, count))
    truths = set(rng.sample(range(count), rng.randint(0, min(3, count))))
    target = order_target(order, truths, count)
    assert target.dtype == torch.float32
    assert target.tolist() == pytest.approx(_completions(order, truths, count), rel=1e-6)


def test_order_target_by_hand() -> None:
    # teacher: 3 2 0 1; truths 0 and 2 go first, in the teacher's order
    assert order_target([3, 2, 0, 1], {0, 2}, 4).tolist() == pytest.approx([4 / 15, 1 / 15, 8 / 15, 2 / 15])


def test_errors_name_the_value_and_the_way_out() -> None:
    logits, mask = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(TrainError, match="a rank is -1"):
        ranknet(logits, torch.tensor([[0, 1, -1], [0, 1, 2]]), mask)
    with pytest.raises(TrainError, match=r"ranks are torch.float32"):
        ranknet(logits, logits, mask)
    with pytest.raises(TrainError, match=r"mask is torch.float32"):
        soft_ranking(logits, logits, torch.ones(2, 3))
    with pytest.raises(TrainError, match=r"targets of list 1 sum to 0.5"):
        soft_ranking(logits, torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.0, 0.0]]), mask)
    with pytest.raises(TrainError, match="list 1 of the batch has no candidate"):
        soft_ranking(logits, torch.zeros(2, 3), torch.tensor([[True] * 3, [False] * 3]))
    with pytest.raises(TrainError, match=r"target of candidate 2 in list 0 is 0.5"):
        soft_ranking(logits[:1], torch.tensor([[0.5, 0.0, 0.5]]), torch.tensor([[True, True, False]]))
    with pytest.raises(TrainError, match=r"order is \[0, 0\]"):
        order_target([0, 0], [], 3)
    with pytest.raises(TrainError, match=r"truths is \[3\]"):
        order_target([0], [3], 3)
    with pytest.raises(TrainError, match="0 candidates"):
        order_target([], [], 0)
