"""Partition by a pivot: how many passes it takes, and that it finds what windows find."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from ziprerank.bundle import Defaults
from ziprerank.errors import InvalidInput
from ziprerank.partition import Partition, plan_partition, run_partition
from ziprerank.strategies import StrategyOption, plan_passes, run_passes, strategy_of

DEFAULTS = Defaults(keep_ratio=0.5, window=20, stride=10, prune_text="all_before_image")


@pytest.mark.parametrize("top_k", [None, 1, 5, 10, 20, 90])
@pytest.mark.parametrize("width", [2, 3, 8, 20])
@pytest.mark.parametrize("pages", [21, 25, 39, 40, 57, 100, 500, 844])
def test_plan_reads_every_page_once_and_again_in_the_last_pass(pages: int, width: int, top_k: int | None) -> None:
    plan = plan_partition(pages, width, top_k)
    fresh = [position for step in range(plan.passes) for position in plan.fresh(step)]
    assert fresh == list(range(pages))
    assert all(1 <= len(group) < width for group in plan.groups)
    assert len(plan.left) < width
    assert plan.passes <= math.ceil((pages - width) / (width - 1)) + 2
    following = [list(plan.following(step)) for step in range(plan.passes)]
    assert following == [*(list(plan.fresh(step)) for step in range(1, plan.passes)), []]


def test_a_hundred_pages_take_six_passes() -> None:
    assert plan_partition(100, 20, 10).passes == 6
    assert plan_passes(100, "windows", "auto", None, 10, DEFAULTS).passes == 9


@pytest.mark.parametrize("width", [4, 7, 20])
@pytest.mark.parametrize("pages", [21, 45, 100, 333])
def test_a_consistent_ranker_puts_the_best_first(pages: int, width: int) -> None:
    """Each pass has an offset of its own; within it, pages compare as they should."""
    draw = random.Random(pages * width)
    worth = [draw.random() for _ in range(pages)]
    plan = plan_partition(pages, width, width // 2)
    held: list[tuple[int, ...]] = []

    def score(step: int, places: Sequence[int]) -> list[float]:
        assert step == len(held)
        assert set(plan.fresh(step)) <= set(places)
        assert len(set(places)) == len(places) <= width
        held.append(tuple(places))
        offset = draw.gauss(0, 100)
        return [worth[place] + offset for place in places]

    outcome = run_partition(plan, score, key=lambda value: value)
    best = sorted(range(pages), key=lambda page: -worth[page])
    assert sorted(outcome.order) == list(range(pages))
    assert held[-1] == tuple(sorted(held[-1]))  # the last pass reads in the order of the list
    if not plan.left:
        assert list(outcome.order) == best
    assert list(outcome.order[: width - len(plan.left)]) == best[: width - len(plan.left)]
    assert outcome.passes == {
        page: tuple(step for step, places in enumerate(held) if page in places) for page in range(pages)
    }


def first_page(strategy: StrategyOption, noise: float, seed: int, run: int = 0) -> int:
    """The first page of 100 by one strategy, for a ranker that errs anew in each pass."""
    draw = random.Random(seed)
    worth = [draw.gauss(0, 1) for _ in range(100)]
    error = random.Random(f"{strategy} {seed} {run}")
    plan = plan_passes(100, strategy, "auto", None, 10, DEFAULTS)

    def score(_step: int, places: Sequence[int]) -> list[float]:
        offset = error.gauss(0, 5)
        return [worth[place] + offset + error.gauss(0, noise) for place in places]

    return run_passes(plan, score, key=lambda value: value).order[0]


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3])
def test_the_first_page_is_that_of_windows_where_the_ranker_is_consistent(noise: float) -> None:
    """Of the rankings in which three runs of windows agree, at least 95 % of what a fourth run of windows gets."""
    partition = windows = trials = 0
    for seed in range(600):
        agreed = {first_page("windows", noise, seed, run) for run in range(3)}
        if len(agreed) == 1:
            trials += 1
            windows += first_page("windows", noise, seed, 3) in agreed
            partition += first_page("partition", noise, seed) in agreed
    assert trials > 150
    assert partition >= 0.95 * windows, f"{partition}, windows {windows} of {trials}"
    if noise < 0.05:
        assert partition >= 0.95 * trials


@pytest.mark.parametrize(
    ("pages", "top_k", "stride", "chosen"),
    [
        (20, 5, None, "windows"),  # one pass
        (25, 5, None, "windows"),  # two passes either way
        (100, 10, None, "partition"),
        (100, 11, None, "windows"),  # more than half a pass
        (100, None, None, "windows"),
        (100, 10, 10, "windows"),  # a stride is asked for
        (500, 1, None, "partition"),
    ],
)
def test_auto(pages: int, top_k: int | None, stride: int | None, chosen: str) -> None:
    assert strategy_of(plan_passes(pages, "auto", "auto", stride, top_k, DEFAULTS)) == chosen


def test_what_cannot_be_asked_for() -> None:
    with pytest.raises(InvalidInput, match="strategy 'best': must be 'auto', 'windows' or 'partition'"):
        plan_passes(30, "best", "auto", None, None, DEFAULTS)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="stride 10: only windows have a stride"):
        plan_passes(30, "partition", "auto", 10, None, DEFAULTS)
    with pytest.raises(InvalidInput, match="window 1 cannot compare 30 pages"):
        plan_passes(30, "partition", 1, None, None, DEFAULTS)
    assert isinstance(plan_passes(30, "partition", "auto", None, None, DEFAULTS), Partition)
