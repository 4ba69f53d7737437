"""What a progress callback is told of pages and passes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from ziprerank.profiling.meter import CountedProgress, Progress
from ziprerank.reranker import Reranker

SAMPLE = Path(__file__).parents[2] / "python" / "examples" / "sample.pdf"


class Told:
    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []
        self.counts: list[Progress] = []

    def __call__(self, done: int, total: int, /) -> None:
        self.steps.append((done, total))

    def counted(self, now: Progress) -> None:
        self.counts.append(now)


@pytest.mark.parametrize("queries", [1, 2])
@pytest.mark.parametrize(("strategy", "top_k"), [("windows", None), ("partition", 2)])
def test_pages_and_passes_are_the_steps(small_pages: Path, strategy: str, top_k: int | None, queries: int) -> None:
    told, plain = Told(), list[tuple[int, int]]()
    assert isinstance(told, CountedProgress)
    assert not isinstance(plain.append, CountedProgress)
    with Reranker.from_bundle(small_pages, check="size") as reranker:
        asked = ["dividend", "lifeboat drills"][:queries]
        options = {"window": 5, "strategy": strategy, "first_stage": "none"}
        rankings = reranker.rank_many(asked, SAMPLE, top_k, progress=told, **options)  # type: ignore[arg-type]
        reranker.rank_many(asked, SAMPLE, top_k, progress=lambda *at: plain.append(at), **options)  # type: ignore[arg-type]
    assert set(told.steps) == set(plain)
    passes = sum(ranking.windows for ranking in rankings)
    assert told.counts[-1] == Progress(18 * queries, 18 * queries, passes, passes)
    assert passes > queries
    for before, after in pairwise(told.counts):
        moved = after.pages_done - before.pages_done, after.passes_done - before.passes_done
        assert moved in ((0, 0), (1, 0), (0, 1))
    final = told.steps[-1]
    assert final == (18 * queries + passes, 18 * queries + passes)
