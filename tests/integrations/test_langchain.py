"""Tests of the LangChain compressor with langchain-core and the retriever that people use it in."""

from __future__ import annotations

import asyncio
import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_classic.retrievers.contextual_compression import ContextualCompressionRetriever
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ValidationError
from ziprerank.errors import InvalidInput, PageWarning
from ziprerank.integrations.langchain import ZipRerankCompressor
from ziprerank.reranker import Reranker

from .conftest import Want


@pytest.fixture
def documents(sample: Path) -> list[Document]:
    """Documents as PyPDFLoader makes them, with pages from 0."""
    return [
        Document(f"text of {page}", id=f"d{page}", metadata={"source": str(sample), "page": page, "total_pages": 18})
        for page in range(18)
    ]


@pytest.fixture
def compressor(reranker: Reranker) -> ZipRerankCompressor:
    return ZipRerankCompressor(reranker=reranker)


@pytest.mark.parametrize("scale", ["probability", "sigmoid", "logit"])
def test_ranks_as_the_library(
    reranker: Reranker, documents: list[Document], query: str, want: Want, *, scale: Any
) -> None:
    before = copy.deepcopy(documents)
    compressor = ZipRerankCompressor(reranker=reranker, scale=scale)
    assert isinstance(compressor, BaseDocumentCompressor)
    best = compressor.compress_documents(documents, query)
    assert [document.metadata["page"] for document in best] == want.order
    scores = want.on_scale(scale)
    assert [document.metadata["relevance_score"] for document in best] == scores
    assert documents == before  # the retriever's own documents are unchanged
    assert [(document.id, document.page_content) for document in best] == [
        (f"d{page}", f"text of {page}") for page in want.order
    ]
    assert all(document.metadata["total_pages"] == 18 for document in best)


def test_async_and_top_n(reranker: Reranker, documents: list[Document], query: str, want: Want) -> None:
    best = asyncio.run(ZipRerankCompressor(reranker=reranker, top_n=4).acompress_documents(documents, query))
    assert [document.metadata["page"] for document in best] == want.order[:4]


def test_options_reach_the_engine(reranker: Reranker, documents: list[Document], query: str, ranked: Any) -> None:
    compressor = ZipRerankCompressor(reranker=reranker, keep_ratio=0.1, window=6, stride=3, scale="logit")
    best = compressor.compress_documents(documents, query)
    assert [document.metadata["page"] for document in best] == (
        wanted := ranked(documents[0].metadata["source"], keep_ratio=0.1, window=6, stride=3)
    ).order
    assert [document.metadata["relevance_score"] for document in best] == wanted.logits


def test_images(compressor: ZipRerankCompressor, query: str, *, encoded: Any, stored: Any, want_pictures: Want) -> None:
    """Pages may be base64 or data URLs in page_content, as in multi-vector retrievers, or image files as sources."""
    documents = [
        Document(encoded[0], metadata={"at": 0}),
        Document(f"data:image/png;base64,{encoded[1]}", metadata={"at": 1}),
        *(Document("", metadata={"source": str(path), "at": at}) for at, path in enumerate(stored[2:], start=2)),
    ]
    best = compressor.compress_documents(documents, query)
    assert [document.metadata["at"] for document in best] == want_pictures.order
    assert [document.metadata["relevance_score"] for document in best] == want_pictures.probabilities


def test_in_a_retriever(compressor: ZipRerankCompressor, documents: list[Document], query: str, want: Want) -> None:
    class Everything(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
            assert query
            assert run_manager
            return documents

    retriever = ContextualCompressionRetriever(base_compressor=compressor, base_retriever=Everything())
    assert [document.metadata["page"] for document in retriever.invoke(query)] == want.order
    assert [document.metadata["page"] for document in asyncio.run(retriever.ainvoke(query))] == want.order


@pytest.mark.parametrize("kind", [str, float, np.int64, "{}.0".format, " {} ".format])
def test_numbers_are_read_by_value(
    compressor: ZipRerankCompressor, documents: list[Document], query: str, want: Want, *, kind: Any
) -> None:
    """Vector stores return page 1 as 1.0 or "1"."""
    for document in documents:
        document.metadata["page"] = kind(document.metadata["page"])
    best = compressor.compress_documents(documents, query)
    assert [document.id for document in best] == [f"d{page}" for page in want.order]
    assert [document.metadata["relevance_score"] for document in best] == want.probabilities


def test_printed_labels(compressor: ZipRerankCompressor, documents: list[Document], query: str, want: Want) -> None:
    """A number in the loader's ``page_label`` is a label: the sample's first page is labelled 1."""
    labelled = compressor.model_copy(update={"page_key": "page_label"})
    for document in documents:
        document.metadata["page_label"] = str(document.metadata["page"] + 1)
    best = labelled.compress_documents(documents, query)
    assert [document.metadata["page"] for document in best] == want.order


def test_chunks_of_a_page_share_its_score(
    compressor: ZipRerankCompressor, documents: list[Document], query: str, want: Want
) -> None:
    chunks = [Document(f"another of {page}", metadata=dict(documents[page].metadata)) for page in (3, 1)]
    best = compressor.compress_documents([*documents, *chunks], query)
    assert [document.metadata["page"] for document in best] == [
        page for page in want.order for _ in range(1 + (page in (1, 3)))
    ]
    scores = dict(zip(want.order, want.probabilities, strict=True))
    assert all(document.metadata["relevance_score"] == scores[document.metadata["page"]] for document in best)
    texts = [document.page_content for document in best if document.metadata["page"] == 3]
    assert texts == ["text of 3", "another of 3"]


def test_serialises(reranker: Reranker, bundle: Path, documents: list[Document], query: str, want: Want) -> None:
    """Serialising writes the options of a given reranker, so that the copy read back ranks the same."""
    compressor = ZipRerankCompressor(reranker=reranker, top_n=3, scale="logit")
    again = ZipRerankCompressor.model_validate_json(compressor.model_dump_json())
    assert again.bundle == str(bundle)
    assert again.model_dump() == compressor.model_dump()
    assert "reranker" not in compressor.model_dump()
    for copied in (again, pickle.loads(pickle.dumps(compressor)), copy.deepcopy(compressor)):
        best = copied.compress_documents(documents, query)
        assert [document.metadata["relevance_score"] for document in best] == want.logits[:3]


def test_text_is_refused(compressor: ZipRerankCompressor, documents: list[Document], query: str) -> None:
    documents[5] = Document("only words", id="d5")
    with pytest.raises(ValueError, match=r"candidate 5 \(d5\): it has text only.*metadata\['source'\]"):
        compressor.compress_documents(documents, query)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"source": "none.pdf"}, r"candidate 1 \(none.pdf\): no such file"),
        ({"source": "https://example.org/a.pdf", "page": 0}, "candidate 1 .*is a URL, which is not fetched"),
        ({"source": 7}, "candidate 1 .*is a int: give the path"),
        ({"source": "SAMPLE", "page": 18}, r"candidate 1 .*page 19 is outside 1..18"),
        ({"source": "SAMPLE", "page": -1}, "candidate 1 .*is -1: pages are counted from 0"),
        ({"source": "SAMPLE", "page": "18"}, r"candidate 1 .*page 19 is outside 1..18"),
        ({"source": "SAMPLE", "page": "-1"}, "candidate 1 .*is -1: pages are counted from 0"),
        ({"source": "SAMPLE", "page": "iv"}, "candidate 1 .*none of its 18 pages is labelled 'iv'"),
        ({"source": "SAMPLE", "page": 1.5}, "candidate 1 .*is 1.5: give a whole number"),
        ({"source": "SAMPLE", "page": float("nan")}, "candidate 1 .*is nan: give a whole number"),
        ({"source": "SAMPLE", "page": True}, "candidate 1 .*is True: give a whole number"),
        ({"source": __file__}, "candidate 1 .*unsupported format, known are PDF, JPEG, PNG, WebP, TIFF"),
    ],
)
def test_bad_documents(
    compressor: ZipRerankCompressor, sample: Path, query: str, *, metadata: dict[str, Any], message: str
) -> None:
    if metadata["source"] == "SAMPLE":
        metadata = {**metadata, "source": str(sample)}
    documents = [Document("a", metadata={"source": str(sample), "page": 0}), Document("b", metadata=metadata)]
    with pytest.raises(InvalidInput, match=message):
        compressor.compress_documents(documents, query)


def test_root_path(reranker: Reranker, sample: Path, query: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.pdf").write_bytes(sample.read_bytes())
    (tmp_path / "b.pdf").write_bytes(sample.read_bytes())
    compressor = ZipRerankCompressor(reranker=reranker, root_path=str(tmp_path / "in"))
    [best] = compressor.compress_documents([Document("", metadata={"source": "a.pdf", "page": 3})], query)
    assert best.metadata["relevance_score"] == 1
    for outside in ("../b.pdf", str(tmp_path / "b.pdf")):
        with pytest.raises(InvalidInput, match=r"candidate 0 .*outside the root path"):
            compressor.compress_documents([Document("", metadata={"source": outside, "page": 3})], query)
    (tmp_path / "in" / "circle").symlink_to("circle")
    skipping = ZipRerankCompressor(reranker=reranker, root_path=str(tmp_path / "in"), on_bad_page="skip")
    names = ["circle/a.pdf", "a.pdf", "\0.pdf"]
    with pytest.warns(PageWarning, match="cannot be followed inside"):
        [best] = skipping.compress_documents(
            [Document("", metadata={"source": one, "page": 3}) for one in names], query
        )
    assert best.metadata["source"] == "a.pdf"


def test_options_are_checked(reranker: Reranker) -> None:
    with pytest.raises(ValidationError, match="top_n"):
        ZipRerankCompressor(top_n=0)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        ZipRerankCompressor(top_k=3)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="given with a reranker"):
        ZipRerankCompressor(reranker=reranker, provider="cuda")


def test_nothing_to_rank_loads_nothing(query: str) -> None:
    compressor = ZipRerankCompressor(bundle="/no/such/bundle")
    assert compressor.compress_documents([], query) == []
