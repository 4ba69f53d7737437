"""A process in which the hollow GPU fails: ``python failing.py BUNDLE SCENARIO``; prints what each request came to.

An outcome is the error's class and text, or null where it worked, and what it left: ``pinned`` rows of the pool and the
``pages`` in it. ``left`` is what is still allocated, on the device and pinned, when the engine is gone.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ziprerank.errors import ZipRerankError
from ziprerank.reranker import Reranker

from hollow.control import fail, limit, live

ROOM = 80 << 30
SMALL, LARGE = 256, 288


class Ranker:
    """An engine, and what its requests came to."""

    def __init__(self, bundle: str) -> None:
        self.reranker = Reranker.from_bundle(bundle, provider="cuda", pool_bytes=1 << 24, blank="keep")
        self.outcomes: list[dict[str, Any]] = []

    def rank(self, sides: Sequence[int], keep: float = 0.5, seed: int = 0) -> None:
        """Ranks square pages, each with its own pixels."""
        pages = [
            np.random.default_rng(seed + number).integers(0, 256, (side, side, 3), np.uint8)
            for number, side in enumerate(sides)
        ]
        outcome = _outcome(lambda: self.reranker.rank("dividend", pages, keep_ratio=keep, window=20))
        pool = self.reranker.engine.pool
        self.outcomes.append({**outcome, "pinned": pool["pinned_rows"], "pages": pool["pages"], "live": live()})


def _outcome(body: Callable[[], object]) -> dict[str, Any]:
    try:
        body()
    except ZipRerankError as error:
        return {"error": [type(error).__name__, str(error)]}
    return {"error": None}


def loading(bundle: str) -> list[dict[str, Any]]:
    """Without room for the weights; then with."""
    limit(1 << 20)
    outcomes = [{**_outcome(lambda: Ranker(bundle)), "live": live()}]
    limit(ROOM)
    ranker = Ranker(bundle)
    ranker.rank([SMALL])
    return outcomes + ranker.outcomes


def page_7(bundle: str) -> list[dict[str, Any]]:
    """Six pages fit, the seventh does not; then eight pages that fit, and all with more memory."""
    ranker = Ranker(bundle)
    ranker.rank([SMALL] * 8, seed=100)
    limit(live())
    ranker.rank([SMALL] * 6 + [LARGE] + [SMALL])
    ranker.rank([SMALL] * 8)
    limit(ROOM)
    ranker.rank([SMALL] * 6 + [LARGE] + [SMALL])
    return ranker.outcomes


def scoring(bundle: str) -> list[dict[str, Any]]:
    """Twenty pages are in the pool, and no room is left to score them together; then one of them, then all."""
    ranker = Ranker(bundle)
    for number in range(20):
        ranker.rank([LARGE], seed=number)
    ranker.outcomes.clear()
    limit(live())
    ranker.rank([LARGE] * 20, keep=1)
    ranker.rank([LARGE])
    limit(ROOM)
    ranker.rank([LARGE] * 20, keep=1)
    return ranker.outcomes


def launch(bundle: str, plan: str = "launch:40:719") -> list[dict[str, Any]]:
    """A kernel is not launched; the same request again."""
    ranker = Ranker(bundle)
    fail(plan)
    ranker.rank([SMALL] * 2)
    ranker.rank([SMALL] * 2)
    return ranker.outcomes


def lost(bundle: str) -> list[dict[str, Any]]:
    """As `launch`, but from then on nothing works."""
    return launch(bundle, "launch:40:719:lost")


if __name__ == "__main__":
    scenarios = {scenario.__name__: scenario for scenario in (loading, page_7, scoring, launch, lost)}
    found = scenarios[sys.argv[2]](sys.argv[1])
    gc.collect()
    sys.stdout.write(json.dumps({"outcomes": found, "left": [live(), live(host=True)]}) + "\n")
