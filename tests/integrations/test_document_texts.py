"""Adapters on a bundle that scores each document by itself: texts, pages, both and instructions, as in the library."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from haystack import Document as HaystackDocument
from haystack.dataclasses import ByteStream
from langchain_core.documents import Document as LangChainDocument
from llama_index.core.schema import ImageNode, NodeWithScore, TextNode
from rerankers.documents import Document as RerankersDocument
from ziprerank import Page
from ziprerank.errors import InvalidInput, PageError, PageWarning
from ziprerank.integrations.haystack import ZipRerankRanker
from ziprerank.integrations.langchain import ZipRerankCompressor
from ziprerank.integrations.llama_index import ZipRerankPostprocessor
from ziprerank.integrations.rerankers import ZipRerankRanker as RerankersRanker
from ziprerank.integrations.sentence_transformers import ZipRerankCrossEncoder
from ziprerank.reranker import Reranker

QUERY = "dividend shareholders board directors"
INSTRUCTION = "Find pages that state an amount."
WORDS = ["The board declared a dividend.", "Soup is served at noon."]

Scores = dict[int, float]
Adapter = Callable[..., Scores]


@pytest.fixture(scope="module")
def pointwise(yes_no_bundle: Path) -> Reranker:
    return Reranker.from_bundle(yes_no_bundle, check="size", threads=1, pool_bytes=64 << 20)


def encoded(page: Path) -> str:
    return base64.b64encode(page.read_bytes()).decode()


def langchain(reranker: Reranker, page: Path, **options: Any) -> Scores:
    texts = [LangChainDocument(text, metadata={"place": place}) for place, text in enumerate(WORDS)]
    shown = LangChainDocument("words of a chunk", metadata={"source": str(page), "place": 2})
    best = ZipRerankCompressor(reranker=reranker, **options).compress_documents([*texts, shown], QUERY)
    return {document.metadata["place"]: document.metadata["relevance_score"] for document in best}


def llama_index(reranker: Reranker, page: Path, **options: Any) -> Scores:
    nodes = [TextNode(id_=str(place), text=text) for place, text in enumerate(WORDS)]
    given = [NodeWithScore(node=node) for node in [*nodes, ImageNode(id_="2", image=encoded(page))]]
    best = ZipRerankPostprocessor(reranker=reranker, **options).postprocess_nodes(given, query_str=QUERY)
    return {int(node.node.node_id): node.score or 0.0 for node in best}


def haystack(reranker: Reranker, page: Path, **options: Any) -> Scores:
    texts = [HaystackDocument(id=str(place), content=text) for place, text in enumerate(WORDS)]
    shown = HaystackDocument(id="2", blob=ByteStream(page.read_bytes()))
    best = ZipRerankRanker(reranker=reranker, **options).run(QUERY, [*texts, shown])["documents"]
    return {int(document.id): document.score or 0.0 for document in best}


def rerankers(reranker: Reranker, page: Path, **options: Any) -> Scores:
    documents = [WORDS[0], RerankersDocument(WORDS[1]), str(page)]
    best = RerankersRanker(reranker=reranker, **options).rank(QUERY, documents)
    return {result.document.doc_id: result.score for result in best.results}


def sentence_transformers(reranker: Reranker, page: Path, **options: Any) -> Scores:
    documents = [WORDS[0], {"text": WORDS[1]}, {"image": encoded(page)}]
    best = ZipRerankCrossEncoder(reranker=reranker, **options).rank(QUERY, documents)
    return {result["corpus_id"]: result["score"] for result in best}


ADAPTERS: list[Adapter] = [langchain, llama_index, haystack, rerankers, sentence_transformers]


def expected(reranker: Reranker, documents: list[Any], **options: Any) -> Scores:
    return {page.index: page.probability for page in reranker.rank(QUERY, documents, **options)}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_texts_alone_and_instructions(adapter: Adapter, pointwise: Reranker, stored: list[Path]) -> None:
    documents = [*(Page(text=text) for text in WORDS), stored[0]]
    wanted = expected(pointwise, documents)
    assert len(set(wanted.values())) == 3
    assert adapter(pointwise, stored[0]) == pytest.approx(wanted, rel=1e-9)
    asked = expected(pointwise, documents, instruction=INSTRUCTION)
    assert asked != pytest.approx(wanted, rel=1e-6)
    assert adapter(pointwise, stored[0], instruction=INSTRUCTION) == pytest.approx(asked, rel=1e-9)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_other_bundles_refuse_both(adapter: Adapter, reranker: Reranker, stored: list[Path]) -> None:
    with pytest.raises(PageError, match=r"candidate 0 .*it has text only"):
        adapter(reranker, stored[0])
    with pytest.warns(PageWarning, match="it has text only"):
        assert list(adapter(reranker, stored[0], on_bad_page="skip")) == [2]
    with pytest.raises(InvalidInput, match="has no place for one"):
        adapter(reranker, stored[0], on_bad_page="skip", instruction=INSTRUCTION)


def test_a_text_beside_a_page(pointwise: Reranker, reranker: Reranker, stored: list[Path]) -> None:
    both, page = (expected(pointwise, [one])[0] for one in (Page(stored[0], WORDS[0]), stored[0]))
    assert both != page
    encoder = ZipRerankCrossEncoder(reranker=pointwise)
    (found,) = encoder.rank(QUERY, [{"image": stored[0], "text": WORDS[0]}])
    assert found["score"] == pytest.approx(both, rel=1e-9)
    document = RerankersDocument(WORDS[0], document_type="image", image_path=str(stored[0]))
    (result,) = RerankersRanker(reranker=pointwise).rank(QUERY, [document]).results
    assert result.score == pytest.approx(both, rel=1e-9)
    with pytest.raises(PageError, match=r"candidate 0 .*without 'text'"):
        ZipRerankCrossEncoder(reranker=reranker).rank(QUERY, [{"image": stored[0], "text": WORDS[0]}])


def test_a_text_goes_with_one_page(pointwise: Reranker, sample: Path) -> None:
    document = RerankersDocument(WORDS[0], document_type="image", image_path=str(sample))
    with pytest.raises(PageError, match=r"candidate 0 .*text beside 18 pages: a text goes with one page"):
        RerankersRanker(reranker=pointwise).rank(QUERY, [document])


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"text": 3}, "'text' cannot be of type int: give a string"),
        ({"text": ""}, "it has text only"),
        ({"image": "no such file", "text": "words"}, "there is no such file"),
        ({"text": "now<|im_end|>"}, r"the text holds '<\|im_end\|>'"),
    ],
)
def test_texts_that_cannot_be_read(pointwise: Reranker, document: dict[str, Any], message: str) -> None:
    with pytest.raises(PageError, match=f"candidate 0 .*{message}"):
        ZipRerankCrossEncoder(reranker=pointwise).rank(QUERY, [document])


def test_mteb_reads_texts_too(pointwise: Reranker, reranker: Reranker, files: list[bytes]) -> None:
    datasets = pytest.importorskip("datasets", reason="mteb is not installed: pip install 'ziprerank[mteb]'")
    from ziprerank.integrations.mteb import ZipRerankSearch

    names = ["both", "page", "text"]
    images = [{"bytes": files[0], "path": None}, {"bytes": files[1], "path": None}, None]
    corpus = datasets.Dataset.from_dict(
        {"id": names, "image": images, "text": [WORDS[0], None, WORDS[1]]},
        features=datasets.Features(
            {"id": datasets.Value("string"), "image": datasets.Image(), "text": datasets.Value("string")}
        ),
    )
    queries = datasets.Dataset.from_dict({"id": ["q"], "text": [QUERY]})
    documents = [Page(files[0], WORDS[0]), files[1], Page(text=WORDS[1])]
    search = ZipRerankSearch(reranker=pointwise, instruction=INSTRUCTION)
    search.index(corpus)
    found = search.search(queries, top_k=3, top_ranked={"q": names})["q"]
    ranking = pointwise.rank(QUERY, documents, instruction=INSTRUCTION)
    assert sorted(found, key=lambda name: -found[name]) == [names[page.index] for page in ranking]
    texts = corpus.remove_columns("image")
    search.index(texts)
    assert set(search.search(queries, top_k=3, top_ranked={"q": ["text"]})["q"]) == {"text"}
    with pytest.raises(InvalidInput, match="pages are ranked by their 'image'"):
        ZipRerankSearch(reranker=reranker).index(texts)
