"""Metrics of the right page's ranks (1 is the best), and their confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

AT = (1, 3, 5)
Z = 1.959963984540054  # 97.5 % point of the normal distribution: intervals of 95 %
DRAWS = 10_000
SEED = 0


def recall(ranks: Sequence[int], at: int) -> float:
    """Returns the share of the queries whose page is among the first ``at``."""
    return sum(rank <= at for rank in ranks) / len(ranks)


def mean_reciprocal_rank(ranks: Sequence[int]) -> float:
    """Returns the mean of 1 / rank."""
    return sum(1 / rank for rank in ranks) / len(ranks)


def chance(candidates: Sequence[int]) -> dict[str, float]:
    """Returns the expected metrics of a random order; ``candidates`` holds each query's number of candidates."""
    values = {f"recall@{at}": sum(min(1.0, at / count) for count in candidates) / len(candidates) for at in AT}
    reciprocal = [sum(1 / rank for rank in range(1, count + 1)) / count for count in candidates]
    return {**values, "mrr": sum(reciprocal) / len(candidates)}


def wilson(hits: int, of: int) -> tuple[float, float]:
    """Returns Wilson's 95 % score interval of a share (Wilson 1927, without continuity correction)."""
    share, square = hits / of, Z * Z
    middle = (share + square / (2 * of)) / (1 + square / of)
    reach = Z / (1 + square / of) * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def difference(ours: Sequence[int], theirs: Sequence[int], documents: Sequence[str]) -> tuple[float, float, float]:
    """Compares recall@1 on the same queries by a paired bootstrap.

    Queries are drawn with replacement within each document, so every draw has the same number of queries per document.
    The interval covers other queries on these documents, not other documents.

    Args:
        ours: ranks of one system.
        theirs: ranks of the other.
        documents: the document of each query.

    Returns:
        Recall@1 of ``ours`` less that of ``theirs``, and the ends of its 95 % interval.
    """
    gains = np.array([(mine <= 1) - (other <= 1) for mine, other in zip(ours, theirs, strict=True)], dtype=np.float64)
    names = np.array(documents)
    rng = np.random.default_rng(SEED)
    totals = np.zeros(DRAWS)
    for name in sorted(set(documents)):
        group = gains[names == name]
        totals += group[rng.integers(len(group), size=(DRAWS, len(group)))].sum(axis=1)
    low, high = np.percentile(totals / len(gains), [2.5, 97.5])
    return float(gains.mean()), float(low), float(high)
