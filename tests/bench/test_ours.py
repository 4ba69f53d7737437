"""A first query finds none of its pages in the pool, even if they take more blocks than a window has slots."""

from __future__ import annotations

from pathlib import Path

import pytest
from ziprerank.bundle import Blank, Bundle
from ziprerank.comparison.cases import Case
from ziprerank.comparison.ours import Ours

SAMPLE = Path(__file__).parents[2] / "python" / "examples" / "sample.pdf"


@pytest.mark.parametrize("blank", ["drop", "keep"])
def test_every_first_query_encodes_every_page(blank: Blank) -> None:
    ours = Ours(Case(SAMPLE, "annual meeting", tuple(range(1, 8)), Bundle.load()), "fp32", blank, "cpu", lambda: None)
    fillers = sum(-(-rows * cols // 32) for rows, cols in ours.grids)  # blocks
    assert fillers > 20
    for read, (rows, cols) in zip(ours.read, ours.grids, strict=True):
        assert (len(read) < rows * cols) == (blank == "drop")
    for _ in range(2):
        before = ours.reranker.engine.pool["misses"]
        ours.first_query(0.5)
        assert ours.reranker.engine.pool["misses"] == before + fillers + 7
    before = ours.reranker.engine.pool["misses"]
    ours.next_query(0.5)
    assert ours.reranker.engine.pool["misses"] == before
