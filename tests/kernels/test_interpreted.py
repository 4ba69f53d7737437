"""The Triton kernels, run by Triton's interpreter, against the specification: shapes, dtypes and special values."""

from __future__ import annotations

import pytest
import torch
from prune_cases import DTYPES, TOLERANCE, check_window, exact_relevance, random_window, window
from ziprerank.kernels import KernelError, front, implementation, launch, reference


@pytest.fixture(autouse=True)
def _interpreter() -> None:
    """Without the interpreter these tests would run the specification instead of the kernels."""
    assert implementation(torch.device("cpu")) == "triton"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("hidden", [64, 1000])
def test_dtypes_and_hidden_sizes(dtype: torch.dtype, hidden: int) -> None:
    check_window(random_window(dtype, hidden, tokens=9, counts=[70, 40], keep=0.5))


@pytest.mark.parametrize(("dtype", "hidden"), [(torch.float16, 65), (torch.float32, 4095), (torch.bfloat16, 4096)])
def test_odd_and_large_hidden_sizes(dtype: torch.dtype, hidden: int) -> None:
    check_window(random_window(dtype, hidden, tokens=17, counts=[30, 34], keep=0.25))


@pytest.mark.parametrize("tokens", [1, 128, 129, 2000])
def test_text_lengths(tokens: int) -> None:
    check_window(random_window(torch.float16, 64, tokens, counts=[63, 2], keep=0.5))


@pytest.mark.parametrize("capability", [80, 90, 100])
def test_the_tiles_of_the_targets(monkeypatch: pytest.MonkeyPatch, capability: int) -> None:
    """The interpreter has no compute capability and uses the smallest tile, so this test selects the others."""
    monkeypatch.setattr(front, "tile", lambda kernel, _, *model: launch.tile(kernel, capability, *model))
    check_window(random_window(torch.float16, 128, tokens=270, counts=[100, 40], keep=0.5))


def test_twenty_ragged_pages_up_to_4096_tokens() -> None:
    counts = [1, 4096, 2, 63, 64, 65, 800, 1023, 1024, 1025, 3, 127, 128, 129, 5, 31, 1, 1, 17, 500]
    check_window(random_window(torch.bfloat16, 64, tokens=40, counts=counts, keep=0.5))


@pytest.mark.parametrize("keep", [1.0, 0.75, 1e-9])
def test_keep_ratios_from_all_to_one_token(keep: float) -> None:
    check_window(random_window(torch.float32, 64, tokens=12, counts=[130, 1, 57], keep=keep))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_exact_scores_give_exact_indices(dtype: torch.dtype) -> None:
    """Rows of +-1 have norm 8 and cosines that are multiples of 1/32: many ties, and no rounding."""
    generator = torch.Generator().manual_seed(3)
    visual, text = (torch.randint(0, 2, (n, 64), generator=generator).mul(2).sub(1).to(dtype) for n in (400, 6))
    case = window(visual, text, [150, 1, 249], 0.5)
    pruned = check_window(case)
    torch.testing.assert_close(pruned.relevance.double(), exact_relevance(case), atol=0, rtol=0)
    expected = reference.prune(visual, text, case.page_offsets, case.keep)
    torch.testing.assert_close(pruned.kept, expected, atol=0, rtol=0)


def test_equal_scores_keep_the_first_tokens() -> None:
    case = window(torch.ones(90, 64), torch.ones(3, 64), [50, 40], [7, 40])
    assert case.prune().kept.tolist() == [*range(7), *range(50, 90)]


def test_a_zero_row_has_similarity_zero() -> None:
    visual = torch.zeros(4, 64)
    visual[0, 0], visual[2, :2], visual[3, 0] = -1, 1, -1
    text = torch.zeros(2, 64)
    text[0, 0] = 1
    pruned = check_window(window(visual, text[:1], [4], [2]))
    assert pruned.kept.tolist() == [1, 2]
    assert pruned.relevance[1] == 0
    pruned = check_window(window(visual, text, [4], [3]))  # a zero text row: nothing is below 0 any more
    assert pruned.relevance.tolist() == pytest.approx([0, 0, 0.5**0.5, 0])
    assert pruned.kept.tolist() == [0, 1, 2]


def test_negative_zero_ties_with_zero() -> None:
    visual = torch.zeros(3, 64)
    visual[0, 1], visual[1, 0], visual[2, 0] = -1, -0.0, -0.0
    visual[0, 0] = -0.0
    text = torch.zeros(1, 64)
    text[0, 0] = 1
    assert window(visual, text, [3], [2]).prune().kept.tolist() == [0, 1]


def test_spare_lanes_of_the_text_tile_never_win() -> None:
    """All cosines are negative: a padded text token, which would score 0, must not be the maximum."""
    generator = torch.Generator().manual_seed(5)
    visual = -torch.rand(66, 64, generator=generator)
    text = torch.rand(130, 64, generator=generator)
    pruned = check_window(window(visual, text, [66], 0.5))
    assert bool((pruned.relevance < -0.5).all())


def test_masks() -> None:
    """The mask may be any subset of the text; tokens outside it may be better, or not finite."""
    case = random_window(torch.bfloat16, 64, tokens=140, counts=[80], keep=0.3)
    generator = torch.Generator().manual_seed(1)
    masks = [torch.arange(140) == 139, torch.arange(140) // 7 == 9, torch.rand(140, generator=generator) < 0.4]
    for mask in masks:
        text = case.text.clone()
        text[~mask] = torch.where(torch.arange(140)[~mask, None] % 2 == 0, torch.nan, case.visual[0])
        check_window(window(case.visual, text, [80], 0.3, mask))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # the interpreter's, for infinities
@pytest.mark.parametrize(
    ("dtype", "bad"), [(torch.float32, torch.nan), (torch.float16, -torch.inf), (torch.bfloat16, torch.nan)], ids=str
)
def test_rows_that_are_not_finite_are_reported(dtype: torch.dtype, bad: float) -> None:
    case = random_window(dtype, 64, tokens=5, counts=[20, 70, 3], keep=0.5)
    visual = case.visual
    visual[20 + 66, 63] = visual[20 + 68, 0] = bad
    damaged = window(visual, case.text, [20, 70, 3], 0.5)
    pruned = damaged.prune(total=int(damaged.keep.sum()))
    assert pruned.status.tolist() == [0, 67, 0]
    assert pruned.relevance.isnan().nonzero().flatten().tolist() == [86, 88]
    with pytest.raises(KernelError, match="visual token 66 of page 1 is not finite"):
        pruned.check()
    intact = case.prune().kept
    first, last = slice(0, 10), slice(45, 47)
    assert torch.equal(pruned.kept[first], intact[first])
    assert torch.equal(pruned.kept[last], intact[last])
    assert bool((pruned.kept[10:45] >= 20).all())
    assert bool((pruned.kept[10:45] < 90).all()), "indices stay inside the page, for whoever gathers before checking"
    assert {86, 88} <= set(pruned.kept.tolist()), "kept first: the scores are not finite, for whoever never checks"


@pytest.mark.parametrize("what", ["nan", "inf", "empty"])
def test_text_that_is_not_finite_or_empty_is_reported(what: str) -> None:
    case = random_window(torch.float16, 64, tokens=200, counts=[20, 70], keep=0.5)
    mask = torch.full((200,), what != "empty")
    if what != "empty":
        case.text[150, 7] = float(what)
    damaged = window(case.visual, case.text, [20, 70], 0.5, mask)
    pruned = damaged.prune(total=45)
    assert pruned.status.tolist() == [-1, -1]
    with pytest.raises(KernelError, match="text token"):
        pruned.check()


def test_keep_counts_out_of_range_are_reported_and_write_nothing_outside() -> None:
    case = random_window(torch.float32, 64, tokens=2, counts=[4, 6, 5], keep=[0, 3, 9])
    pruned = case.prune(total=12)
    assert pruned.status.tolist() == [-2, 0, -2]
    assert torch.equal(pruned.kept[:3], case.with_keep([1, 3, 1]).prune().kept[1:4])
    assert pruned.kept[3:8].tolist() == [10, 11, 12, 13, 14]
    with pytest.raises(KernelError, match="keep of page 0"):
        pruned.check()
    with pytest.raises(KernelError, match=r"keep is 0 for page 0 of 4 visual tokens: must be 1\.\.4"):
        case.prune()


@pytest.mark.parametrize(("dtype", "scale"), [(torch.float16, 2**-20), (torch.float32, 1e-9), (torch.bfloat16, 1e-9)])
def test_tiny_rows_count_by_their_direction(dtype: torch.dtype, scale: float) -> None:
    """The rows are subnormal in half precision, but far above the lower bound of the norm."""
    case = random_window(torch.float32, 64, tokens=5, counts=[60], keep=0.5)
    case = window((case.visual * scale).to(dtype), (case.text * scale).to(dtype), [60], 0.5)
    assert float(check_window(case).relevance.max()) > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_subnormal_rows_below_the_floor_of_the_norm(dtype: torch.dtype) -> None:
    case = random_window(torch.float32, 64, tokens=5, counts=[60], keep=0.5)
    visual, text = (case.visual * 1e-39).to(dtype), case.text.to(dtype)
    assert float(visual.abs().max()) > 0
    assert float(check_window(window(visual, text, [60], 0.5)).relevance.abs().max()) < 1e-20
    check_window(window(case.visual.to(dtype), (text * 1e-39).to(dtype), [60], 0.5))


def test_large_rows() -> None:
    """Covers half precision's largest values (products of 4e9, summed in float32) and norms near float32's largest."""
    case = random_window(torch.float32, 64, tokens=5, counts=[60], keep=0.5)
    for dtype, scale in ((torch.float16, 15000.0), (torch.bfloat16, 1e17), (torch.float32, 1e17)):
        check_window(window((case.visual * scale).to(dtype), (case.text * scale).to(dtype), [60], 0.5))


def test_relevance_does_not_depend_on_where_a_row_stands() -> None:
    row = random_window(torch.bfloat16, 256, tokens=30, counts=[1], keep=1.0)
    pruned = window(row.visual.expand(150, -1), row.text, [90, 60], [3, 2]).prune()
    assert float(pruned.relevance.max() - pruned.relevance.min()) <= TOLERANCE / 10
