"""Measures are trec_eval's, and MMDocIR's averages are those of a second computation from the definitions."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from itertools import product

import numpy as np
import pytest
import pytrec_eval
from ziprerank.evaluation import measures
from ziprerank.evaluation.formats.mmdocir import DOMAINS

QRELS_GRADES = (0, 1, 2)


def random_run(seed: int, queries: int = 60) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    """Graded qrels and a run full of ties, in which some relevant pages and some whole queries are missing."""
    rng = random.Random(seed)
    qrels, run = {}, {}
    for number in range(queries):
        pages = [f"d{number}:{page}" for page in range(rng.randint(3, 30))]
        judged = rng.sample(pages, rng.randint(1, min(5, len(pages))))
        qrels[f"q{number}"] = {page: rng.choice(QRELS_GRADES) for page in judged}
        if number % 13:
            ranked = rng.sample(pages, rng.randint(1, len(pages)))
            run[f"q{number}"] = {page: rng.choice((0.0, 0.25, 0.5, 1.0)) for page in ranked}
    return qrels, run


def by_definition(judged: dict[str, int], scored: dict[str, float]) -> dict[str, float]:
    """Every measure of one query, computed from its definition."""
    order = sorted(scored, key=lambda page: (scored[page], page), reverse=True)
    relevant = {page for page, grade in judged.items() if grade > 0}
    gains = [judged.get(page, 0) for page in order]
    ideal = sorted((grade for grade in judged.values() if grade > 0), reverse=True)

    def discounted(values: list[int], at: int) -> float:
        return sum(value / math.log2(place + 2) for place, value in enumerate(values[:at]))

    first = next((place for place, page in enumerate(order[:10], start=1) if page in relevant), None)
    found = {f"recall@{at}": len(relevant & set(order[:at])) / len(relevant) if relevant else 0.0 for at in (1, 3, 5)}
    found |= {f"ndcg@{at}": discounted(gains, at) / discounted(ideal, at) if relevant else 0.0 for at in (5, 10)}
    found["mrr@10"] = 1 / first if first else 0.0
    found["mrr"] = next((1 / place for place, page in enumerate(order, start=1) if page in relevant), 0.0)
    return found | {f"hit@{at}": float(bool(relevant & set(order[:at]))) for at in (1, 3, 5)}


@pytest.mark.parametrize("seed", range(5))
def test_every_measure_is_as_defined_and_as_pytrec_eval_says(seed: int) -> None:
    qrels, run = random_run(seed)
    found = measures.measured(qrels, run)
    assert list(found) == list(qrels)
    names = {"recall.1,3,5", "ndcg_cut.5,10", "success.1,3,5"}
    reference = pytrec_eval.RelevanceEvaluator(qrels, names).evaluate(run)
    for query, judged in qrels.items():
        assert list(found[query]) == list(measures.MEASURES)
        assert found[query] == pytest.approx(by_definition(judged, run.get(query, {})), abs=1e-9)
        for name, value in reference.get(query, {}).items():
            kind, at = name.rsplit("_", 1)
            ours = {"recall": "recall", "ndcg_cut": "ndcg", "success": "hit"}[kind]
            assert found[query][f"{ours}@{at}"] == pytest.approx(value, abs=1e-9)


def test_the_tenth_page_counts_for_mrr_and_the_eleventh_does_not() -> None:
    run = {"q": {f"p{rank}": float(-rank) for rank in range(1, 13)}}
    for rank, value in ((10, 0.1), (11, 0.0)):
        assert measures.measured({"q": {f"p{rank}": 1}}, run)["q"]["mrr@10"] == value


def test_scores_that_are_equal_in_single_precision_are_ties() -> None:
    run = {"q": {"a": 1 + 1e-12, "b": 1.0}}
    assert measures.measured({"q": {"a": 1}}, run)["q"]["recall@1"] == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_averages_are_those_of_mmdocir(seed: int) -> None:
    """The authors sum over a domain's questions, divide by their number, and by ten domains; an empty one counts 0."""
    qrels, run = random_run(seed)
    rng = random.Random(seed)
    domains = [rng.choice(DOMAINS[:7]) for _ in qrels]
    found = measures.measured(qrels, run)
    for name in ("recall@1", "recall@3", "recall@5"):
        values = [by_definition(qrels[query], run.get(query, {}))[name] for query in qrels]
        held = defaultdict(list)
        for domain, value in zip(domains, values, strict=True):
            held[domain].append(value)
        expected = sum(sum(held[domain]) / len(held[domain]) if held[domain] else 0.0 for domain in DOMAINS) / 10
        ours = np.array([found[query][name] for query in qrels])
        assert float(measures.macro(domains, DOMAINS) @ ours) == pytest.approx(expected, abs=1e-9)
        assert float(measures.micro(domains) @ ours) == pytest.approx(sum(values) / len(values), abs=1e-9)


def test_without_named_domains_the_macro_average_is_over_those_of_the_queries() -> None:
    assert float(measures.macro(["a", "a", "b"]) @ np.array([1.0, 0.0, 1.0])) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_as_published(hits: int, of: int, low: float, high: float) -> None:
    """Values of Newcombe, Two-sided confidence intervals for the single proportion (1998), table I, method 3."""
    assert measures.wilson(hits, of) == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_is_symmetric() -> None:
    low, high = measures.wilson(7, 40)
    assert measures.wilson(33, 40) == pytest.approx((1 - high, 1 - low))
    assert measures.wilson(40, 40)[1] == 1.0


def interval(gains: list[float], groups: list[str]) -> tuple[float, float]:
    low, high = measures.interval(np.array(gains)[:, None], measures.micro(groups), groups)
    return float(low[0]), float(high[0])


def test_bootstrap_is_the_distribution_over_all_draws() -> None:
    gains = [1, 1, 0, -1]
    draws = sorted(sum(draw) / 4 for draw in product(gains, repeat=4))
    expected = (draws[int(0.025 * len(draws))], draws[int(0.975 * len(draws))])
    assert interval([float(gain) for gain in gains], ["a"] * 4) == pytest.approx(expected)


def test_bootstrap_keeps_the_shares_of_the_groups() -> None:
    """All queries of one group gain and none of the other, so every draw has the same mean."""
    assert interval([1.0] * 3 + [0.0] * 6, ["a"] * 3 + ["b"] * 6) == pytest.approx((1 / 3,) * 2)


def test_bootstrap_in_parts_draws_as_in_one() -> None:
    """Parts of the draws keep memory small; numpy draws the same numbers in one call."""
    groups = ["b"] * 7 + ["a"] * 5
    gains = np.random.default_rng(5).normal(size=(12, 2))
    rng = np.random.default_rng(3)
    totals = np.zeros((measures.DRAWS, 2))
    for name in ("a", "b"):
        group = gains[np.array(groups) == name]
        totals += group[rng.integers(len(group), size=(measures.DRAWS, len(group)))].sum(axis=1)
    expected = np.percentile(totals / 12, [2.5, 97.5], axis=0)
    assert np.array(measures.interval(gains, measures.micro(groups), groups, seed=3)) == pytest.approx(expected)
