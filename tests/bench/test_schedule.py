"""Systems run as often as the time limit allows, by costs and by a clock that the test sets."""

from __future__ import annotations

from collections import Counter

import pytest
from ziprerank.comparison import schedule
from ziprerank.comparison.schedule import Budget, repeats, rounds


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (1000.0, {"slow": 9, "quick": 9}),
        (44.0, {"slow": 3, "quick": 9}),  # 3 of both take 33 s, 6 more of the quick one 6 s; 5 s are left
        (35.0, {"slow": 3, "quick": 5}),
        (33.0, {"slow": 3, "quick": 3}),
        (25.0, {"slow": 2, "quick": 5}),
        (0.0, {"slow": 1, "quick": 1}),
    ],
)
def test_what_is_left_goes_to_the_quickest(seconds: float, expected: dict[str, int]) -> None:
    counts = repeats({"slow": 10.0, "quick": 1.0}, seconds)
    assert counts == expected
    spent = 10 * counts["slow"] + counts["quick"]
    assert spent <= max(seconds, 11.0)


def test_rounds_interleave_and_spread() -> None:
    order = list(rounds({"a": 6, "b": 6, "rare": 2}))
    assert order == [["a", "b"], ["a", "b"], ["a", "b", "rare"], ["a", "b"], ["a", "b"], ["a", "b", "rare"]]
    counts = {"a": 9, "b": 4, "c": 1}
    assert Counter(name for names in rounds(counts) for name in names) == counts


def test_a_budget_is_shared_by_weight_and_says_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(schedule, "perf_counter", lambda: now)
    budget = Budget(60.0, {"small": 1.0, "middle": 2.0, "large": 9.0})
    assert budget.seconds("small") == 5.0
    assert budget.fits("small")
    now += 12.0
    budget.done("small", least_s=10.0)
    assert budget.left == 48.0
    assert budget.seconds("middle") == pytest.approx(48.0 * 2 / 11)
    assert budget.fits("middle")  # about 20 s
    assert not budget.fits("large")  # about 90 s
    budget.skip("large")
    assert budget.seconds("middle") == 48.0
