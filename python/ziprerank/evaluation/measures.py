"""Measures of rankings by pytrec_eval, their averages, and intervals of differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytrec_eval
from numpy.typing import NDArray

Run = Mapping[str, Mapping[str, float]]
Qrels = Mapping[str, Mapping[str, int]]

MEASURES = ("recall@1", "recall@3", "recall@5", "ndcg@5", "ndcg@10", "mrr@10", "mrr", "hit@1", "hit@3", "hit@5")
_ASKED = {"recall.1,3,5", "ndcg_cut.5,10", "recip_rank", "success.1,3,5"}
_NAMES = {"recall": "recall_", "ndcg": "ndcg_cut_", "hit": "success_"}
_LAST = 0.1  # reciprocal of the last rank that mrr@10 counts

Z = 1.959963984540054  # 97.5 % point of the normal distribution: intervals of 95 %
DRAWS = 10_000
_AT_ONCE = 500  # draws whose queries are held in memory


def measured(qrels: Qrels, run: Run) -> dict[str, dict[str, float]]:
    """Returns each measure of each judged query by its id; a query that the run lacks has 0 everywhere.

    The values are trec_eval's. It sorts a query's pages by falling score in single precision and equal scores by
    falling id; a page of any grade over 0 is relevant; the gain of nDCG is the grade. ``mrr`` is the reciprocal rank of
    the first relevant page, and ``mrr@10`` is 0 if that is not among the first 10. ``hit@k`` is whether one of them is
    among k.
    """
    asked = {query: dict(scored) for query, scored in run.items() if query in qrels and scored}
    evaluator = pytrec_eval.RelevanceEvaluator({query: dict(judged) for query, judged in qrels.items()}, _ASKED)
    found = evaluator.evaluate(asked) if asked else {}
    return {query: _values(found.get(query, {})) for query in qrels}


def _values(found: Mapping[str, float]) -> dict[str, float]:
    values = {}
    for name in MEASURES:
        kind, _, at = name.partition("@")
        if kind == "mrr":
            rank = found.get("recip_rank", 0.0)
            values[name] = rank if not at or rank >= _LAST else 0.0
        else:
            values[name] = found.get(_NAMES[kind] + at, 0.0)
    return values


def micro(groups: Sequence[str]) -> NDArray[np.float64]:
    """Returns the weight of each query in the mean over queries."""
    return np.full(len(groups), 1 / max(len(groups), 1))


def macro(groups: Sequence[str], domains: Sequence[str] = ()) -> NDArray[np.float64]:
    """Returns the weight of each query in the mean over groups of the mean over a group's queries.

    Args:
        groups: The group of each query.
        domains: All groups; one without a query counts 0, as MMDocIR's authors compute it. Empty: those of the queries.
    """
    count = len(domains) or len(set(groups))
    size = {group: groups.count(group) for group in set(groups)}
    return np.array([1 / (count * size[group]) for group in groups], dtype=np.float64)


def wilson(hits: int, of: int) -> tuple[float, float]:
    """Returns Wilson's 95 % score interval of a share (Wilson 1927, without continuity correction)."""
    share, square = hits / of, Z * Z
    middle = (share + square / (2 * of)) / (1 + square / of)
    reach = Z / (1 + square / of) * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def interval(
    gains: NDArray[np.float64], weights: NDArray[np.float64], groups: Sequence[str], seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the 95 % intervals of weighted sums of paired differences, by a bootstrap of 10,000 draws.

    Queries are drawn with replacement within each group, so every draw has the same number of queries of each group.
    The interval covers other queries of these groups, not other groups.

    Args:
        gains: Differences of each query, ``[queries, comparisons]``.
        weights: Weight of each query in the mean, equal within a group, ``[queries]``.
        groups: The group of each query.
        seed: Of the draws.

    Returns:
        The 2.5 % and the 97.5 % quantile of each comparison.
    """
    rng = np.random.default_rng(seed)
    names = np.array(groups)
    totals = np.zeros((DRAWS, gains.shape[1]))
    for name in sorted(set(groups)):
        held = names == name
        group, weight = gains[held], weights[held][0]
        size = len(group)
        for start in range(0, DRAWS, _AT_ONCE):
            picks = rng.integers(size, size=(_AT_ONCE, size))
            picks += np.arange(_AT_ONCE)[:, None] * size
            counts = np.bincount(picks.ravel(), minlength=_AT_ONCE * size).reshape(_AT_ONCE, size)
            totals[start : start + _AT_ONCE] += weight * (counts @ group)
    low, high = np.percentile(totals, [2.5, 97.5], axis=0)
    return low, high
