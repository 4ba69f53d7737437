"""What a progress callback is told of pages and passes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from ziprerank.profiling.meter import StepCount
from ziprerank.reranker import Reranker

SAMPLE = Path(__file__).parents[2] / "python" / "examples" / "sample.pdf"


@pytest.mark.parametrize("queries", [1, 2])
@pytest.mark.parametrize(("strategy", "top_k"), [("windows", None), ("partition", 2)])
def test_pages_and_passes_are_the_steps(small_pages: Path, strategy: str, top_k: int | None, queries: int) -> None:
    told: list[tuple[StepCount, StepCount]] = []
    with Reranker.from_bundle(small_pages, check="size") as reranker:
        asked = ["dividend", "lifeboat drills"][:queries]
        options = {"window": 5, "strategy": strategy, "first_stage": "none"}
        rankings = reranker.rank_many(asked, SAMPLE, top_k, progress=lambda *at: told.append(at), **options)  # type: ignore[arg-type]
    passes = sum(ranking.windows for ranking in rankings)
    assert passes > queries
    for count in told[-1]:
        assert (count.pages, count.passes, count) == (18 * queries, passes, 18 * queries + passes)
    for (before, _), (after, _) in pairwise(told):
        assert (after.pages - before.pages, after.passes - before.passes) in ((0, 0), (1, 0), (0, 1))
