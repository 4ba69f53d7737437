"""The PyTorch front: what runs on which device, rejected input, gradients, and no waiting on the host."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from prune_cases import DTYPES, check_window, random_window, window
from ziprerank.kernels import KernelError, front, gather_kept, implementation, prune, prune_pool, reference


@pytest.fixture
def _plain_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET")
    assert implementation(torch.device("cpu")) == "reference"


def test_the_device_decides() -> None:
    assert implementation(torch.device("cuda")) == "triton"
    with pytest.raises(KernelError, match="meta: pruning runs on cuda and cpu"):
        implementation(torch.device("meta"))


def test_prune_in_the_interpreter_equals_prune_without(monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_window(torch.float16, 96, tokens=20, counts=[40, 3, 60], keep=0.4)
    arguments = (case.visual, case.text, case.page_offsets, case.keep)
    kept = prune(*arguments)
    assert torch.equal(kept, prune(*arguments, total=len(kept)))
    monkeypatch.delenv("TRITON_INTERPRET")
    assert torch.equal(kept, prune(*arguments))
    assert torch.equal(kept, reference.prune(*arguments))


@pytest.mark.usefixtures("_plain_cpu")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_without_the_interpreter_cpu_tensors_get_the_specification(dtype: torch.dtype) -> None:
    check_window(random_window(dtype, 100, tokens=9, counts=[70, 1, 400], keep=0.5))


@pytest.mark.usefixtures("_plain_cpu")
def test_without_the_interpreter_the_status_is_the_same() -> None:
    case = random_window(torch.float32, 64, tokens=5, counts=[20, 70, 3], keep=[3, 71, 1])
    visual = case.visual
    visual[17, 3] = visual[19, 0] = torch.nan
    pruned = window(visual, case.text, [20, 70, 3], [3, 71, 1]).prune(total=75)
    assert pruned.status.tolist() == [18, -2, 0]
    assert pruned.relevance.isnan().nonzero().flatten().tolist() == [17, 19]
    empty = window(visual, case.text, [20, 70, 3], [3, 71, 1], torch.zeros(5, dtype=torch.bool)).prune(total=75)
    assert empty.status.tolist() == [-1, -2, -1]
    assert bool(empty.relevance.isposinf().all())
    with pytest.raises(KernelError, match="visual token 17 of page 0 is not finite"):
        prune(visual, case.text, case.page_offsets, torch.tensor([3, 70, 1]))


@pytest.mark.parametrize("pages", [1, 20])
def test_three_launches_and_no_value_read_whatever_the_number_of_pages(
    monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    """Forbids everything that would wait for a GPU. Launches are only recorded; the kernels have other tests."""
    launches: list[tuple[str, int]] = []

    def record(_: front._Launch, kernel: Any, length: int, *__: Any) -> None:
        launches.append((kernel.__name__, length))

    def refuse(*_: Any) -> None:
        raise AssertionError("the host reads a value")

    case = random_window(torch.bfloat16, 64, tokens=7, counts=[12] * pages, keep=0.5)
    monkeypatch.setattr(front._Launch, "__call__", record)
    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "__iter__"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    pruned = case.prune(total=6 * pages)
    assert launches == [("text_scales", 7), ("relevance_scores", 12 * pages), ("select_kept", pages)]
    assert pruned.kept.shape == (6 * pages,)


@pytest.mark.usefixtures("_plain_cpu")
def test_gradients_flow_through_the_kept_rows_only() -> None:
    case = random_window(torch.float32, 64, tokens=6, counts=[20, 11], keep=0.3)
    visual, text = case.visual.requires_grad_(), case.text.requires_grad_()
    kept = prune(visual, text, case.page_offsets, case.keep)
    assert not kept.requires_grad
    rows = gather_kept(visual, kept)
    assert torch.equal(rows, visual[kept])
    weight = torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))
    (rows * weight).sum().backward()
    expected = torch.zeros_like(visual).index_copy_(0, kept, weight)
    torch.testing.assert_close(visual.grad, expected, atol=0, rtol=0)
    assert text.grad is None


def test_gather_kept_passes_gradcheck_with_levels() -> None:
    visual = torch.randn(6, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    kept = torch.tensor([0, 3, 5])
    assert torch.autograd.gradcheck(lambda x: gather_kept(x, kept), (visual,))
    assert gather_kept(visual, kept).shape == (3, 2, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pool": torch.zeros(3, 64)}, r"pool is \[3, 64\]: must be \[R, L, H\]"),
        ({"pool": torch.zeros(3, 1, 64, dtype=torch.float64)}, "float64: must be float32, float16 or bfloat16"),
        ({"text": torch.zeros(2, 63)}, r"text is \[2, 63\] torch.float32: must be \[T, 64\]"),
        ({"text": torch.zeros(0, 64)}, "T at least 1"),
        ({"text": torch.zeros(2, 64, dtype=torch.float16)}, "float16"),
        ({"query_mask": torch.ones(2)}, r"query_mask is \[2\] torch.float32: must be \[2\] torch.bool"),
        ({"rows": torch.zeros(3, dtype=torch.int32)}, "rows is .* must be contiguous 1-D int64"),
        ({"keep": torch.ones(6, dtype=torch.int64)[::3]}, "keep is .* must be contiguous"),
        ({"page_offsets": torch.tensor([0, 1, 2, 3])}, "one offset more than pages"),
        ({"page_offsets": torch.tensor([0, 1, 2])}, "run from 0 to 2: must be 0 to 3"),
        ({"page_offsets": torch.tensor([0, 3, 3])}, "keep is 1 for page 1 of 0 visual tokens"),
        ({"keep": torch.tensor([1, 3])}, r"keep is 3 for page 1 of 2 visual tokens: must be 1\.\.2"),
        ({"text": torch.zeros(2, 64, device="meta")}, "text is on meta, the visual tokens on cpu"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, torch.Tensor], message: str) -> None:
    arguments = {
        "pool": torch.ones(3, 1, 64),
        "rows": torch.arange(3),
        "page_offsets": torch.tensor([0, 1, 3]),
        "keep": torch.tensor([1, 1]),
        "text": torch.ones(2, 64),
        "query_mask": torch.ones(2, dtype=torch.bool),
    }
    with pytest.raises(KernelError, match=message):
        prune_pool(**(arguments | change))


def test_visual_must_be_a_matrix() -> None:
    with pytest.raises(KernelError, match=r"visual is \[3\]"):
        prune(torch.ones(3), torch.ones(2, 3), torch.tensor([0, 3]), torch.tensor([1]))


def run_without_triton(code: str) -> None:
    blocked = "import sys; sys.modules['triton'] = None\n"
    subprocess.run([sys.executable, "-c", blocked + code], check=True)


def test_the_package_needs_neither_torch_nor_triton_to_be_imported() -> None:
    run_without_triton(
        "sys.modules['torch'] = None\n"
        "import ziprerank.kernels as kernels\n"
        "assert kernels.describe and kernels.compile_kernels and kernels.KernelError\n"
    )


def test_without_triton_cpu_tensors_are_pruned_and_cuda_says_what_is_missing() -> None:
    run_without_triton(
        "import os, torch; os.environ.pop('TRITON_INTERPRET', None)\n"
        "from ziprerank.kernels import prune, reference\n"
        "ones, pages, keep = torch.ones(3, 8), torch.tensor([0, 3]), torch.tensor([2])\n"
        "assert prune(ones, ones, pages, keep).tolist() == [0, 1]\n"
        "os.environ['TRITON_INTERPRET'] = '1'  # the way CUDA tensors go\n"
        "try:\n"
        "    prune(ones, ones, pages, keep)\n"
        "except ImportError as error:\n"
        "    assert 'ziprerank[kernels]' in str(error), error\n"
        "else:\n"
        "    raise AssertionError('no ImportError')\n"
    )
