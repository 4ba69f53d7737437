"""Windows over more pages than one pass takes."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from ziprerank.bundle import Defaults
from ziprerank.errors import InvalidInput
from ziprerank.windows import Plan, plan_windows, run_windows

DEFAULTS = Defaults(keep_ratio=0.5, window=20, stride=10, prune_text="all_before_image")


@pytest.mark.parametrize(("window", "stride"), [(20, 10), (8, 4), (20, 19), (5, 1), (2, 1), (7, 3)])
@pytest.mark.parametrize("pages", [1, 2, 7, 8, 9, 20, 21, 25, 30, 31, 57, 100])
def test_plan_covers_every_page(pages: int, window: int, stride: int) -> None:
    plan = plan_windows(pages, window, stride, DEFAULTS)
    passes = math.ceil((pages - window) / stride) + 1 if pages > window else 1
    assert len(plan.starts) == passes
    assert plan.starts[-1] == 0
    assert plan.starts[0] + plan.width == pages
    assert all(0 < before - after <= stride for before, after in zip(plan.starts, plan.starts[1:], strict=False))
    fresh = [position for step in range(passes) for position in plan.fresh(step)]
    assert sorted(fresh) == list(range(pages))  # each page enters once


def test_best_pages_bubble_to_the_front() -> None:
    draw = random.Random(3)
    for pages in (1, 5, 20, 21, 45, 83):
        worth = [draw.random() for _ in range(pages)]
        plan = plan_windows(pages, "auto", None, DEFAULTS)
        seen: list[int] = []

        def score(step: int, indices: Sequence[int], worth: list[float] = worth, seen: list[int] = seen) -> list[float]:
            assert step == len(seen)
            seen.append(len(indices))
            return [worth[page] for page in indices]

        outcome = run_windows(plan, score, key=lambda value: value)
        best = sorted(range(pages), key=lambda page: -worth[page])
        assert sorted(outcome.order) == list(range(pages))
        assert list(outcome.order[:10]) == best[:10]  # stride 10 carries the ten best through all windows
        assert outcome.latest == dict(enumerate(worth))
        assert seen == [plan.width] * len(plan.starts)


def test_ties_keep_the_order_and_the_last_window_speaks() -> None:
    plan = plan_windows(6, 4, 2, DEFAULTS)
    assert plan == Plan(6, 4, (2, 0))
    outcome = run_windows(plan, lambda step, indices: [float(step)] * len(indices), key=lambda value: value)
    assert outcome.order == (0, 1, 2, 3, 4, 5)
    assert outcome.latest == {0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0, 4: 0.0, 5: 0.0}


def test_fresh_pages_are_untouched_before_they_enter() -> None:
    plan = plan_windows(30, 8, 3, DEFAULTS)

    def score(step: int, indices: Sequence[int]) -> list[float]:
        assert set(plan.fresh(step)) <= set(indices)
        return [float(-page) for page in indices[::-1]]

    run_windows(plan, score, key=lambda value: value)


def test_defaults_and_a_stride_that_fits() -> None:
    small = replace(DEFAULTS, window=8, stride=4)
    assert plan_windows(16, "auto", None, small) == Plan(16, 8, (8, 4, 0))
    assert plan_windows(16, 4, None, DEFAULTS).starts == (12, 10, 8, 6, 4, 2, 0)  # stride 10 does not fit 4: half of it
    assert plan_windows(20, "off", None, small) == Plan(20, 20, (0,))


@pytest.mark.parametrize(
    ("pages", "window", "stride", "message"),
    [
        (21, "off", None, "21 pages, at most 20 in one pass: use window=1..20 or split"),
        (3, 0, None, "window 0: must be 1..20 (a letter for each page), 'auto' or 'off'"),
        (3, 21, None, "window 21: must be 1..20 (a letter for each page), 'auto' or 'off'"),
        (3, "on", None, "window 'on': must be 1..20, 'auto' or 'off'"),
        (3, True, None, "window True: must be 1..20, 'auto' or 'off'"),
        (2, 1, None, "window 1 cannot compare 2 pages: use window=2..20"),
        (30, 20, 0, "stride 0: must be at least 1 and less than the window of 20 pages"),
        (30, 20, 20, "stride 20: must be at least 1 and less than the window of 20 pages"),
        (30, 20, 1.5, "stride 1.5: must be a whole number"),
    ],
)
def test_bad_windows(pages: int, window: object, stride: object, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        plan_windows(pages, window, stride, DEFAULTS)  # type: ignore[arg-type]
    assert str(caught.value) == message
