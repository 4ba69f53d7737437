"""A reranker for which a token of a pass takes so long that what a test takes itself is nothing beside it."""

from __future__ import annotations

from pathlib import Path

from ziprerank.reranker import Reranker
from ziprerank.runtime.rates import Rates

HUGE = 1e9
"""Milliseconds for a token."""


def slow_reranker(bundle: Path) -> Reranker:
    """Takes ``HUGE`` ms for each token of a pass and nothing for the rest, and reads blank tokens too.

    So the estimate of a ranking is a count of its tokens, and a budget of 1 ms the cheapest choice.
    """
    reranker = Reranker.from_bundle(bundle, blank="keep", check="size", threads=1)
    reranker.measured.given = Rates(0.0, 0.0, (0.0, HUGE, 0.0))
    return reranker
