"""Muon: its iteration against an SVD, its update against the documented size, its state across a resumption."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from ziprerank.train.optim.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 12, 40), (2, 40, 12)])
def test_keeps_singular_vectors_and_levels_singular_values(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    # in the basis of the singular vectors what comes back must be diagonal
    middle = left.mT @ orthogonalise(matrices) @ right.mT
    diagonal = middle.diagonal(dim1=1, dim2=2)
    assert values.amax() / values.amin() > 2
    assert diagonal.min() > 0.6
    assert diagonal.max() < 1.25
    assert (middle - torch.diag_embed(diagonal)).abs().max() < 1e-3
    back = left @ torch.diag_embed(diagonal) @ right
    torch.testing.assert_close(back, orthogonalise(matrices), rtol=1e-3, atol=1e-3)


def gradient(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(16, 16), (10, 30), (30, 10)])
def test_a_step_has_the_size_of_adamws_and_goes_downhill(shape: tuple[int, int]) -> None:
    parameter = nn.Parameter(torch.zeros(shape))
    parameter.grad = gradient(shape, 2)
    Muon([parameter], lr=0.01).step()
    size = float(parameter.detach().square().mean().sqrt())
    assert 0.01 * 0.2 * 0.7 < size < 0.01 * 0.2 * 1.25
    assert float((parameter.detach() * parameter.grad).sum()) < 0


def test_decay_is_decoupled_and_other_parameters_stay() -> None:
    start = gradient((6, 9), 3)
    with_decay, without, unused = (nn.Parameter(start.clone()) for _ in range(3))
    for parameter in (with_decay, without):
        parameter.grad = gradient((6, 9), 4)
    Muon([with_decay, unused], lr=0.1, weight_decay=0.5).step()
    Muon([without], lr=0.1).step()
    torch.testing.assert_close(without.detach() - with_decay.detach(), start * 0.1 * 0.5)
    assert torch.equal(unused, start)


def test_momentum_is_nesterovs() -> None:
    """Two steps against the formula with an SVD-free copy of the average."""
    parameter = nn.Parameter(torch.zeros(5, 7))
    optimiser = Muon([parameter], lr=1.0, momentum=0.9)
    average, expected = torch.zeros(5, 7), torch.zeros(5, 7)
    for seed in (5, 6):
        grad = gradient((5, 7), seed)
        average = 0.9 * average + 0.1 * grad
        expected -= 0.2 * 7**0.5 * orthogonalise((0.1 * grad + 0.9 * average)[None])[0]
        parameter.grad = grad
        optimiser.step()
    torch.testing.assert_close(parameter.detach(), expected, rtol=1e-4, atol=1e-4)


def test_goes_on_from_a_saved_state() -> None:
    def steps(parameter: nn.Parameter, optimiser: Muon, seeds: range) -> None:
        for seed in seeds:
            parameter.grad = gradient((4, 6), seed)
            optimiser.step()

    whole = nn.Parameter(torch.zeros(4, 6))
    first = Muon([whole], lr=0.1)
    steps(whole, first, range(3))
    resumed = nn.Parameter(whole.detach().clone())
    second = Muon([resumed], lr=0.7)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    steps(whole, first, range(3, 6))
    steps(resumed, second, range(3, 6))
    assert torch.equal(whole, resumed)
