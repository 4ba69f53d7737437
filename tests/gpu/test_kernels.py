"""The Triton kernels on the device, against the specification in double on the same stored values."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from prune_cases import DTYPES, Window, check_window, random_window, window
from ziprerank.kernels import KernelError, Pruned, gather_kept, implementation, prune, prune_pool

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu")]

SHAPES = {
    "one token": (64, 1, [1], 1.0),
    "hidden size below a block": (33, 3, [5, 1, 64], 0.5),
    "hidden size off the block": (1000, 65, [63, 64, 65, 1], 0.5),
    "text of many tiles": (256, 2000, [700], 0.25),
    "twenty ragged pages": (512, 250, [1, 2, 127, 128, 129, 800, 31, 33, 1, 1024, 1025, 7, *[64, 65] * 4], 0.5),
    "twenty Letter pages of the 8B model": (4096, 250, [800] * 20, 0.5),
    "a page of 16,384 tokens": (128, 17, [16384, 3], 0.1),
    "everything kept": (256, 30, [90, 100], 1.0),
    "one kept of each": (256, 30, [90, 100], 0.001),
}


def on_device(case: Window) -> Window:
    return Window(*(getattr(case, field.name).cuda() for field in fields(case)))


def check_on_device(case: Window) -> None:
    """`check_window` with what the device gave in place of what the host computes."""

    class OnDevice(Window):
        def prune(self, total: int | None = None) -> Pruned:
            found = on_device(case).prune(total)
            return Pruned(found.kept.cpu(), found.relevance.cpu(), found.status.cpu())

    check_window(OnDevice(*(getattr(case, field.name) for field in fields(case))))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", SHAPES)
def test_shapes(dtype: torch.dtype, name: str) -> None:
    hidden, tokens, counts, keep = SHAPES[name]
    assert implementation(torch.device("cuda")) == "triton"
    check_on_device(random_window(dtype, hidden, tokens, counts, keep))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_masked_text_equal_scores_zero_rows_and_denormals(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    visual = torch.randn(300, 128, generator=generator).to(dtype)
    text = torch.randn(40, 128, generator=generator).to(dtype)
    visual[10:20] = 0
    visual[100:250] = visual[100]
    visual[250:] = visual[250:] * torch.finfo(dtype).tiny
    mask = torch.rand(40, generator=generator) < 0.3
    mask[39] = True
    check_on_device(window(visual, text, [30, 120, 150], [7, 60, 149], mask))


def test_ties_go_to_the_lower_index() -> None:
    visual, text = torch.ones(500, 64), torch.ones(3, 64)
    kept = prune(visual.cuda(), text.cuda(), torch.tensor([0, 200, 500]).cuda(), torch.tensor([7, 30]).cuda())
    assert kept.tolist() == [*range(7), *range(200, 230)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rows_that_are_not_finite_get_a_status(dtype: torch.dtype) -> None:
    case = random_window(dtype, 64, tokens=5, counts=[20, 70, 3], keep=[3, 20, 1])
    visual = case.visual.clone()
    visual[17, 3] = torch.nan
    visual[45, 0] = torch.inf
    pruned = on_device(window(visual, case.text, [20, 70, 3], [3, 20, 1])).prune(total=24)
    assert pruned.status.tolist() == [18, 26, 0]
    assert {17, 45} <= set(pruned.kept.tolist()), "they rank first, so that the decoder's scores are not finite"
    with pytest.raises(KernelError, match="visual token 17 of page 0 is not finite"):
        pruned.check()
    text = case.text.clone()
    text[2] = torch.nan
    pruned = on_device(window(case.visual, text, [20, 70, 3], [3, 20, 1])).prune(total=24)
    assert pruned.status.tolist() == [-1, -1, -1]


def test_the_same_answer_on_every_run() -> None:
    case = on_device(random_window(torch.bfloat16, 4096, 250, [800] * 20, 0.5))
    first = case.prune(total=8000).kept
    for _ in range(20):
        assert torch.equal(case.prune(total=8000).kept, first)


def test_nothing_waits_for_the_device() -> None:
    """With `total` given, PyTorch sees no synchronisation."""
    case = on_device(random_window(torch.float16, 256, 50, [100, 300], 0.5))
    total = int(case.keep.sum())
    case.prune(total)  # compiled now
    arguments = (case.pool, case.rows, case.page_offsets, case.keep, case.text, case.query_mask, total)
    torch.cuda.set_sync_debug_mode("error")
    try:
        prune_pool(*arguments)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_gradients_reach_the_kept_rows_only() -> None:
    case = on_device(random_window(torch.float32, 64, tokens=6, counts=[20, 11], keep=0.3))
    visual = case.visual.requires_grad_()
    kept = prune(visual, case.text, case.page_offsets, case.keep)
    gather_kept(visual, kept).sum().backward()
    expected = torch.zeros_like(visual).index_fill_(0, kept, 1.0)
    torch.testing.assert_close(visual.grad, expected, atol=0, rtol=0)
