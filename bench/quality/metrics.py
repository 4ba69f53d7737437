"""Measures of the right page's ranks (1 is the best), all of them by ``ziprerank.evaluation``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ziprerank.evaluation import measures

AT = (1, 3, 5)


def means(ranks: Sequence[int]) -> dict[str, float]:
    """Returns recall at 1, 3 and 5 and the mean reciprocal rank of queries with one right page each."""
    qrels = {str(query): {"right": 1} for query in range(len(ranks))}
    run = {str(query): _scores(rank) for query, rank in enumerate(ranks)}
    found = measures.measured(qrels, run)
    names = (*(f"recall@{at}" for at in AT), "mrr")
    return {name: sum(values[name] for values in found.values()) / len(ranks) for name in names}


def chance(candidates: Sequence[int]) -> dict[str, float]:
    """Returns the expected measures of a random order; ``candidates`` holds each query's number of candidates."""
    values = {f"recall@{at}": sum(min(1.0, at / count) for count in candidates) / len(candidates) for at in AT}
    reciprocal = [sum(1 / rank for rank in range(1, count + 1)) / count for count in candidates]
    return {**values, "mrr": sum(reciprocal) / len(candidates)}


def difference(ours: Sequence[int], theirs: Sequence[int], documents: Sequence[str]) -> tuple[float, float, float]:
    """Compares recall@1 on the same queries by a paired bootstrap within each document.

    Args:
        ours: ranks of one system.
        theirs: ranks of the other.
        documents: the document of each query.

    Returns:
        Recall@1 of ``ours`` less that of ``theirs``, and the ends of its 95 % interval.
    """
    gains = np.array([(mine <= 1) - (other <= 1) for mine, other in zip(ours, theirs, strict=True)], dtype=np.float64)
    low, high = measures.interval(gains[:, None], measures.micro(documents), documents)
    return float(gains.mean()), float(low[0]), float(high[0])


def _scores(rank: int) -> dict[str, float]:
    """Returns scores that put the right page at ``rank``."""
    return {**{f"page {place}": float(-place) for place in range(1, rank)}, "right": float(-rank)}
