"""What was done for a ranking is in the metadata of every adapter's results, by the same names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from haystack import Document as HaystackDocument
from langchain_core.documents import Document as LangChainDocument
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode
from rerankers.documents import Document
from slow_reranker import slow_reranker
from ziprerank.integrations.haystack import ZipRerankRanker
from ziprerank.integrations.langchain import ZipRerankCompressor
from ziprerank.integrations.llama_index import ZipRerankPostprocessor
from ziprerank.integrations.rerankers import ZipRerankRanker as RerankersRanker
from ziprerank.reranker import Reranker

from .conftest import QUERY

Found = list[tuple[int, dict[str, Any]]]
"""The page from 1 of each result, and its metadata."""


def haystack(file: Path, **options: Any) -> Found:
    documents = [HaystackDocument(meta={"file_path": str(file)})]
    found = ZipRerankRanker(**options).run(QUERY, documents)["documents"]
    return [(one.meta["page_number"], one.meta) for one in found]


def langchain(file: Path, **options: Any) -> Found:
    documents = [LangChainDocument("", metadata={"source": str(file)})]
    found = ZipRerankCompressor(first_page=1, **options).compress_documents(documents, QUERY)
    return [(one.metadata["page"], one.metadata) for one in found]


def llama_index(file: Path, **options: Any) -> Found:
    nodes = [NodeWithScore(node=TextNode(text="words", metadata={"file_path": str(file)}))]
    found = ZipRerankPostprocessor(**options).postprocess_nodes(nodes, query_str=QUERY)
    return [(one.node.metadata["page_label"], one.node.metadata) for one in found]


def rerankers(file: Path, **options: Any) -> Found:
    found = RerankersRanker(**options).rank(QUERY, Document(document_type="image", image_path=str(file))).results
    return [(one.document.metadata["page_number"], one.document.metadata) for one in found]


@pytest.mark.parametrize("adapter", [haystack, langchain, llama_index, rerankers])
@pytest.mark.parametrize(
    "options",
    [
        {"first_stage": "none", "window": 4, "stride": 2},
        {"first_stage": "text", "candidates": 6, "window": 4, "strategy": "partition"},
        {"first_stage": "text", "budget_ms": 1.0},
    ],
    ids=str,
)
def test_results_say_what_was_done(
    bundle: Path, sample: Path, options: dict[str, Any], *, adapter: Callable[..., Found]
) -> None:
    reranker = slow_reranker(bundle)
    ranking = reranker.rank(QUERY, sample, **options)
    wanted = [
        (
            page.page,
            {
                "first_stage": ranking.first_stage,
                "strategy": ranking.strategy,
                "windows": ranking.windows,
                "passes": list(page.passes),
                **({} if ranking.budget is None else {"budget": ranking.budget.to_dict()}),
            },
        )
        for page in ranking
    ]
    found = [(page, metadata["ziprerank"]) for page, metadata in adapter(sample, reranker=reranker, **options)]
    for _, done in [*wanted, *found]:  # the estimate goes by what rankings took before
        assert done.get("budget", {}).pop("estimated_ms", 1.0) > 0
    assert found == wanted
    assert json.loads(json.dumps(found)) == [list(one) for one in wanted]  # plain data, as stores want it
    assert (ranking.budget is not None) == ("budget_ms" in options)
    assert any(not done["passes"] for _, done in found) == (options["first_stage"] == "text")


def test_haystack_ids_do_not_depend_on_what_was_done(reranker: Reranker, sample: Path) -> None:
    documents = [HaystackDocument(meta={"file_path": str(sample)})]
    ids = []
    for window in (4, 20):
        ranker = ZipRerankRanker(reranker=reranker, window=window)
        ids.append({one.meta["page_number"]: one.id for one in ranker.run(QUERY, documents)["documents"]})
    assert ids[0] == ids[1]
    assert len(set(ids[0].values())) == 18
    named = HaystackDocument(id="mine", meta={"file_path": str(sample), "page_number": 3})
    (found,) = ZipRerankRanker(reranker=reranker).run(QUERY, [named])["documents"]
    assert found.id == "mine"


def test_language_models_do_not_read_what_was_done(reranker: Reranker, sample: Path) -> None:
    metadata = {"file_path": str(sample), "page_label": 3}
    given = TextNode(text="words", metadata=metadata, excluded_llm_metadata_keys=["file_path"])
    (found,) = ZipRerankPostprocessor(reranker=reranker).postprocess_nodes([NodeWithScore(node=given)], query_str=QUERY)
    assert found.node.metadata["ziprerank"]["passes"] == [1]
    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        assert found.node.get_content(mode) == given.get_content(mode)
    assert given.metadata == metadata
    assert given.excluded_llm_metadata_keys == ["file_path"]
