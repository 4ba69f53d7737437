"""Measures equal those of hand-made orders."""

from __future__ import annotations

from itertools import permutations, product
from statistics import mean

import pytest

from bench.quality import metrics

RANKS = [1, 3, 2, 20, 1, 5, 6, 1]


def test_recall_and_reciprocal_rank() -> None:
    means = metrics.means(RANKS)
    assert [means[f"recall@{at}"] for at in (1, 3, 5)] == [3 / 8, 5 / 8, 6 / 8]
    assert means["mrr"] == pytest.approx((3 + 1 / 3 + 1 / 2 + 1 / 20 + 1 / 5 + 1 / 6) / 8)


def test_chance_is_the_mean_over_all_orders() -> None:
    places = [order.index(0) + 1 for order in permutations(range(6))]
    values = metrics.chance([6, 6])
    assert {name: pytest.approx(value) for name, value in values.items()} == {
        "recall@1": mean(place <= 1 for place in places),
        "recall@3": mean(place <= 3 for place in places),
        "recall@5": mean(place <= 5 for place in places),
        "mrr": mean(1 / place for place in places),
    }


def test_chance_with_fewer_candidates_than_places() -> None:
    assert metrics.chance([2, 20])["recall@5"] == pytest.approx((1 + 0.25) / 2)


def test_bootstrap_is_the_distribution_over_all_draws() -> None:
    gains = [1, 1, 0, -1]
    draws = sorted(sum(draw) / 4 for draw in product(gains, repeat=4))
    expected = (mean(gains), draws[int(0.025 * len(draws))], draws[int(0.975 * len(draws))])
    assert metrics.difference([1, 1, 1, 2], [2, 4, 1, 1], ["a"] * 4) == pytest.approx(expected)


def test_bootstrap_keeps_the_shares_of_the_documents() -> None:
    """All queries of one document gain and none of the other, so every draw has the same mean."""
    assert metrics.difference([1] * 9, [2, 2, 2, *[1] * 6], ["a"] * 3 + ["b"] * 6) == pytest.approx((1 / 3,) * 3)


def test_bootstrap_needs_the_same_queries() -> None:
    with pytest.raises(ValueError, match="shorter"):
        metrics.difference([1, 2], [1], ["a", "a"])
