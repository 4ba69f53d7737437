"""A first query finds none of its pages in the pool, also where they take more blocks than a window has slots."""

from __future__ import annotations

from pathlib import Path

from ziprerank.bundle import Bundle

from bench.cases import Case
from bench.ours import Ours

SAMPLE = Path(__file__).parents[2] / "python" / "examples" / "sample.pdf"


def test_every_first_query_encodes_every_page() -> None:
    ours = Ours(Case(SAMPLE, "annual meeting", tuple(range(1, 8)), Bundle.load()), "fp32", "cpu", lambda: None)
    assert sum(-(-tokens // 32) for tokens in ours.tokens) > 20  # blocks
    for _ in range(2):
        before = ours.reranker.engine.pool["misses"]
        ours.first_query(0.5)
        fillers = sum(-(-tokens // 32) for tokens in ours.tokens)
        assert ours.reranker.engine.pool["misses"] == before + fillers + 7
    before = ours.reranker.engine.pool["misses"]
    ours.next_query(0.5)
    assert ours.reranker.engine.pool["misses"] == before
