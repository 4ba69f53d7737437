"""Tests of the LlamaIndex postprocessor with llama-index-core."""

from __future__ import annotations

import asyncio
import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers.base import BaseEventHandler
from llama_index.core.llms.mock import MockLLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers.no_text import NoText
from llama_index.core.schema import (
    ImageDocument,
    ImageNode,
    MediaResource,
    Node,
    NodeWithScore,
    QueryBundle,
    TextNode,
)
from pydantic import ValidationError
from reportlab.pdfgen.canvas import Canvas
from ziprerank import Pdf
from ziprerank.errors import InvalidInput
from ziprerank.integrations.llama_index import ZipRerankPostprocessor
from ziprerank.reranker import Reranker

from .conftest import Want


@pytest.fixture
def nodes(sample: Path) -> list[NodeWithScore]:
    """Nodes as SimpleDirectoryReader makes them, with the page's label and the file's path."""
    return [
        NodeWithScore(
            node=TextNode(
                id_=f"n{page}", text=f"page {page}", metadata={"file_path": str(sample), "page_label": str(page + 1)}
            ),
            score=1 / (page + 1),
        )
        for page in range(18)
    ]


@pytest.fixture
def postprocessor(reranker: Reranker) -> ZipRerankPostprocessor:
    return ZipRerankPostprocessor(reranker=reranker)


def positions(best: list[NodeWithScore]) -> list[int]:
    return [int(found.node.node_id.removeprefix("n")) for found in best]


@pytest.mark.parametrize("scale", ["probability", "sigmoid", "logit"])
def test_ranks_as_the_library(
    reranker: Reranker, nodes: list[NodeWithScore], query: str, want: Want, *, scale: Any
) -> None:
    before = copy.deepcopy(nodes)
    postprocessor = ZipRerankPostprocessor(reranker=reranker, scale=scale)
    assert isinstance(postprocessor, BaseNodePostprocessor)
    best = postprocessor.postprocess_nodes(nodes, query_str=query)
    assert positions(best) == want.order
    assert [found.score for found in best] == want.on_scale(scale)
    assert nodes == before
    for found, at in zip(best, want.order, strict=True):
        assert found.node.metadata.pop("ziprerank")["passes"] == [1]
        assert found.node.metadata == nodes[at].node.metadata


def test_async_and_top_n(reranker: Reranker, nodes: list[NodeWithScore], query: str, want: Want) -> None:
    postprocessor = ZipRerankPostprocessor(reranker=reranker, top_n=4)
    best = asyncio.run(postprocessor.apostprocess_nodes(nodes, QueryBundle(query)))
    assert positions(best) == want.order[:4]


def test_retrieval_scores_may_be_kept(reranker: Reranker, nodes: list[NodeWithScore], query: str, want: Want) -> None:
    before = copy.deepcopy(nodes)
    postprocessor = ZipRerankPostprocessor(reranker=reranker, keep_retrieval_score=True)
    best = postprocessor.postprocess_nodes(nodes, query_str=query)
    assert [found.node.metadata["retrieval_score"] for found in best] == [1 / (at + 1) for at in want.order]
    assert nodes == before


def test_kinds_of_image_nodes(
    postprocessor: ZipRerankPostprocessor, query: str, *, encoded: Any, files: Any, stored: Any, want_pictures: Want
) -> None:
    nodes = [
        ImageNode(id_="n0", image=encoded[0]),
        ImageNode(id_="n1", image_path=str(stored[1])),
        Node(id_="n2", image_resource=MediaResource(data=files[2])),
        ImageDocument(id_="n3", image_path=str(stored[3])),
        TextNode(id_="n4", text="words", metadata={"file_path": str(stored[4])}),
    ]
    best = postprocessor.postprocess_nodes([NodeWithScore(node=node) for node in nodes], query_str=query)
    assert positions(best) == want_pictures.order
    assert [found.score for found in best] == want_pictures.probabilities


def test_page_labels(reranker: Reranker, sample: Path, query: str, tmp_path: Path) -> None:
    """A label is the text printed on the page, which need not be its number."""
    labelled = tmp_path / "labelled.pdf"
    canvas = Canvas(str(labelled), pagesize=(300, 400), invariant=1)
    canvas.addPageLabel(0, style="ROMAN_LOWER")
    canvas.addPageLabel(4, style="ARABIC", prefix="A-")
    for page in range(1, 8):
        canvas.setFont("Helvetica", 20 + 10 * page)
        canvas.drawString(20, 200, f"dividend {page}")
        canvas.showPage()
    canvas.save()

    def score(label: Any, path: Path) -> float | None:
        node = TextNode(metadata={"file_path": str(path), "page_label": label})
        postprocessor = ZipRerankPostprocessor(reranker=reranker, scale="logit")
        return postprocessor.postprocess_nodes([NodeWithScore(node=node)], query_str=query)[0].score

    wanted = {page: reranker.rank(query, Pdf(labelled, [page])).results[0].score for page in range(1, 8)}
    assert len(set(wanted.values())) == 7
    for label, number in (("iii", 3), ("A-2", 6), (6, 6)):
        assert score(label, labelled) == wanted[number]
    with pytest.raises(InvalidInput, match="none of its 7 pages is labelled '6'"):
        score("6", labelled)
    assert score("6", sample) == score(6, sample)  # without labels, numbers serve as labels


def test_in_a_query_engine(
    postprocessor: ZipRerankPostprocessor, nodes: list[NodeWithScore], query: str, want: Want
) -> None:
    class Everything(BaseRetriever):
        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            assert query_bundle.query_str == query
            return nodes

    engine = RetrieverQueryEngine(
        Everything(),
        response_synthesizer=NoText(llm=MockLLM()),
        node_postprocessors=[postprocessor],
    )  # fmt: skip
    assert positions(engine.query(query).source_nodes) == want.order


def test_events(reranker: Reranker, nodes: list[NodeWithScore], query: str) -> None:
    """Observability tools see the reranking through the old callbacks and the new dispatcher."""
    seen: list[Any] = []

    class Handler(BaseEventHandler):
        def handle(self, event: Any, **_: Any) -> None:
            seen.append(event)

    root, handler, debug = get_dispatcher(), Handler(), LlamaDebugHandler(print_trace_on_end=False)
    root.add_event_handler(handler)
    try:
        ZipRerankPostprocessor(reranker=reranker, top_n=2, callback_manager=CallbackManager([debug])).postprocess_nodes(
            nodes, query_str=query
        )
    finally:
        root.event_handlers.remove(handler)
    assert [event.class_name() for event in seen] == ["ReRankStartEvent", "ReRankEndEvent"]
    assert (len(seen[0].nodes), seen[0].top_n, len(seen[1].nodes)) == (18, 2, 2)
    assert len(debug.get_event_pairs(CBEventType.RERANKING)) == 1


def test_serialises(reranker: Reranker, bundle: Path, nodes: list[NodeWithScore], query: str, want: Want) -> None:
    postprocessor = ZipRerankPostprocessor(reranker=reranker, top_n=3)
    assert postprocessor.to_dict()["class_name"] == "ZipRerankPostprocessor"
    again = ZipRerankPostprocessor.from_json(postprocessor.to_json())
    assert again.bundle == str(bundle)
    others = [
        ZipRerankPostprocessor.model_validate_json(postprocessor.model_dump_json()),
        pickle.loads(pickle.dumps(postprocessor)),
        copy.deepcopy(postprocessor),
    ]
    for copied in (again, *others):
        assert copied.to_dict() == postprocessor.to_dict()
        assert positions(copied.postprocess_nodes(nodes, query_str=query)) == want.order[:3]


def test_text_is_refused(postprocessor: ZipRerankPostprocessor, nodes: list[NodeWithScore], query: str) -> None:
    nodes[5] = NodeWithScore(node=TextNode(id_="n5", text="only words"))
    with pytest.raises(ValueError, match=r"candidate 5 \(node n5\): it has text only.*ImageNode"):
        postprocessor.postprocess_nodes(nodes, query_str=query)


def test_bad_calls(postprocessor: ZipRerankPostprocessor, nodes: list[NodeWithScore], query: str) -> None:
    with pytest.raises(ValueError, match="without a query"):
        postprocessor.postprocess_nodes(nodes)
    url = NodeWithScore(node=ImageNode(image_url="https://example.org/page.png"))
    with pytest.raises(InvalidInput, match=r"candidate 0 .*is a URL, which is not fetched"):
        postprocessor.postprocess_nodes([url], query_str=query)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        ZipRerankPostprocessor(top_k=3)  # type: ignore[call-arg]
    assert ZipRerankPostprocessor(bundle="/no/such/bundle").postprocess_nodes([], query_str=query) == []
