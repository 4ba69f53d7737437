"""A budget given to an adapter lowers what is read, as it does in ``Reranker.rank``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from haystack import Document as HaystackDocument
from langchain_core.documents import Document as LangChainDocument
from llama_index.core.schema import NodeWithScore, TextNode
from slow_reranker import slow_reranker
from ziprerank.integrations.haystack import ZipRerankRanker
from ziprerank.integrations.langchain import ZipRerankCompressor
from ziprerank.integrations.llama_index import ZipRerankPostprocessor
from ziprerank.integrations.rerankers import ZipRerankRanker as RerankersRanker
from ziprerank.integrations.sentence_transformers import ZipRerankCrossEncoder
from ziprerank.ranking import Ranking
from ziprerank.reranker import Reranker

from .conftest import QUERY

PAGES = 18  # of the sample


@pytest.fixture
def slow(bundle: Path) -> Reranker:
    return slow_reranker(bundle)


@pytest.fixture
def rankings(monkeypatch: pytest.MonkeyPatch) -> list[Ranking]:
    """What ``Reranker.rank`` has returned."""
    returned: list[Ranking] = []
    rank = Reranker.rank

    def kept(self: Reranker, *arguments: Any, **options: Any) -> Ranking:
        returned.append(rank(self, *arguments, **options))
        return returned[-1]

    monkeypatch.setattr(Reranker, "rank", kept)
    return returned


def haystack(file: Path, **options: Any) -> int:
    documents = [HaystackDocument(meta={"file_path": str(file)})]
    return len(ZipRerankRanker(**options).run(QUERY, documents)["documents"])


def langchain(file: Path, **options: Any) -> int:
    documents = [LangChainDocument("", metadata={"source": str(file)})]
    return len(ZipRerankCompressor(**options).compress_documents(documents, QUERY))


def llama_index(file: Path, **options: Any) -> int:
    nodes = [NodeWithScore(node=TextNode(text="", metadata={"file_path": str(file)}))]
    return len(ZipRerankPostprocessor(**options).postprocess_nodes(nodes, query_str=QUERY))


def rerankers(file: Path, **options: Any) -> int:
    return len(RerankersRanker(**options).rank(QUERY, str(file)).results)


def cross_encoder(file: Path, **options: Any) -> int:
    documents = [{"image": str(file), "page": page} for page in range(1, PAGES + 1)]
    return len(ZipRerankCrossEncoder(**options).rank(QUERY, documents))


@pytest.mark.parametrize("adapter", [haystack, langchain, llama_index, rerankers, cross_encoder])
def test_a_budget_lowers_what_is_read(
    slow: Reranker, sample: Path, rankings: list[Ranking], *, adapter: Callable[..., int]
) -> None:
    for options in ({}, {"budget_ms": 1.0}, {"budget_ms": 1.0, "candidates": 7}, {"budget_ms": 1.0, "keep_ratio": 0.5}):
        assert adapter(sample, reranker=slow, first_stage="text", **options) == PAGES
    usual, *lowered = rankings
    assert usual.budget is None
    assert sum(bool(page.passes) for page in usual) == PAGES
    for ranking, candidates, ratio in zip(lowered, (3, 7, 3), (0.1, 0.1, 0.5), strict=True):
        assert ranking.budget is not None
        assert (ranking.budget.candidates, ranking.budget.keep_ratio) == (candidates, ratio)
        read = [page for page in ranking if page.passes]
        assert len(read) == candidates
        assert {len(page.kept) for page in read} == {max(1, round(ratio * page.tokens)) for page in read}
        assert ranking.tokens.kept < usual.tokens.kept


def test_a_single_page_is_scored_within_a_budget(slow: Reranker, stored: list[Path], rankings: list[Ranking]) -> None:
    RerankersRanker(reranker=slow).score(QUERY, str(stored[0]))
    RerankersRanker(reranker=slow, budget_ms=1.0).score(QUERY, str(stored[0]))
    usual, lowered = rankings
    assert lowered.budget is not None
    assert lowered.budget.keep_ratio == 0.1
    assert lowered.tokens.kept < usual.tokens.kept
