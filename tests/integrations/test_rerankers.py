"""Tests of the ranker for AnswerDotAI's ``rerankers``."""

from __future__ import annotations

import asyncio
import copy
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document as LangChainDocument
from rerankers import Document
from rerankers import Reranker as reranker_by_name
from rerankers.models.ranker import BaseRanker
from rerankers.results import RankedResults
from ziprerank import Pdf
from ziprerank.errors import InvalidInput
from ziprerank.integrations.rerankers import ZipRerankRanker
from ziprerank.reranker import Reranker

from .conftest import Want


@pytest.fixture
def documents(sample: Path) -> list[Document]:
    return [
        Document(
            document_type="image",
            image_path=str(sample),
            doc_id=f"d{page}",
            metadata={"page_number": page + 1, "chapter": page // 6},
        )
        for page in range(18)
    ]


@pytest.fixture
def ranker(reranker: Reranker) -> ZipRerankRanker:
    return ZipRerankRanker(reranker=reranker)


@pytest.mark.parametrize("scale", ["probability", "sigmoid", "logit"])
def test_ranks_as_the_library(
    reranker: Reranker, documents: list[Document], query: str, want: Want, *, scale: Any
) -> None:
    before = copy.deepcopy([vars(document) for document in documents])
    ranker = ZipRerankRanker(reranker=reranker, scale=scale)
    assert isinstance(ranker, BaseRanker)
    ranked = ranker.rank(query, documents)
    assert isinstance(ranked, RankedResults)
    assert [result.doc_id for result in ranked] == [f"d{page}" for page in want.order]
    scores = want.on_scale(scale)
    assert [result.score for result in ranked] == scores
    assert [result.rank for result in ranked] == list(range(1, 19))
    assert [result.document.metadata["chapter"] for result in ranked] == [page // 6 for page in want.order]
    assert [result.doc_id for result in ranked.top_k(3)] == [f"d{page}" for page in want.order[:3]]
    assert ranked.get_score_by_docid(f"d{want.order[4]}") == scores[4]
    assert [vars(document) for document in documents] == before
    assert asyncio.run(ranker.rank_async(query, documents)).results[0].doc_id == f"d{want.order[0]}"


def test_scores_fall_with_the_rank_over_windows(
    reranker: Reranker, documents: list[Document], query: str, sample: Path, ranked: Any
) -> None:
    result = ZipRerankRanker(reranker=reranker, window=4, stride=1).rank(query, documents)
    wanted = ranked(sample, window=4, stride=1)
    assert result.has_scores
    assert [found.score for found in result] == sorted(wanted.probabilities, reverse=True)
    assert [found.doc_id for found in result.top_k(18)] == [f"d{page}" for page in wanted.order]


def test_strings_and_ids(
    ranker: ZipRerankRanker, query: str, *, encoded: list[str], stored: list[Path], want_pictures: Want
) -> None:
    docs = [encoded[0], f"data:image/png;base64,{encoded[1]}", *map(str, stored[2:])]
    assert [result.doc_id for result in ranker.rank(query, docs)] == want_pictures.order
    ranked = ranker.rank(query, docs, doc_ids=list("abcde"), metadata=[{"at": at} for at in range(5)])
    assert [result.doc_id for result in ranked] == ["abcde"[at] for at in want_pictures.order]
    assert [result.document.metadata["at"] for result in ranked] == want_pictures.order
    assert [result.score for result in ranked] == want_pictures.probabilities


def test_score_is_the_logit_of_one_page(ranker: ZipRerankRanker, query: str, stored: list[Path], ranked: Any) -> None:
    assert ranker.score(query, str(stored[1])) == ranked(stored[1]).logits[0]


def test_score_opens_encrypted_pdfs(reranker: Reranker, query: str, *, ranked: Any, encrypted: Path) -> None:
    page = Document(document_type="image", image_path=str(encrypted), metadata={"page_number": 2})
    assert (
        ZipRerankRanker(reranker=reranker, password="sesame").score(query, page)
        == ranked(Pdf(encrypted, 2, "sesame")).logits[0]
    )
    with pytest.raises(ValueError, match="encrypted"):
        ZipRerankRanker(reranker=reranker).score(query, page)


def test_by_name(bundle: Path, documents: list[Document], query: str, want: Want) -> None:
    ranker = reranker_by_name(str(bundle), model_type="ZipRerankRanker", verbose=0, threads=1)
    assert isinstance(ranker, ZipRerankRanker)
    assert ranker.rank(query, documents).results[0].doc_id == f"d{want.order[0]}"
    assert reranker_by_name("ziprerank", model_type="ZipRerankRanker", verbose=0).reranker.options.bundle is None


def test_as_langchain_compressor(reranker: Reranker, sample: Path, query: str, want: Want) -> None:
    compressor = ZipRerankRanker(reranker=reranker, scale="logit").as_langchain_compressor(k=3)
    pages = [LangChainDocument("", metadata={"source": str(sample), "page": page}) for page in range(18)]
    best = compressor.compress_documents(pages, query)
    assert [document.metadata["relevance_score"] for document in best] == want.logits[:3]


def test_text_is_refused(ranker: ZipRerankRanker, documents: list[Document], query: str) -> None:
    documents[5] = Document("only words", doc_id="d5")
    with pytest.raises(ValueError, match=r"candidate 5 \(document d5\): it has text only.*image_path") as caught:
        ranker.rank(query, documents)
    assert "no file" not in str(caught.value)  # which is said of strings alone, as only these may be paths
    with pytest.raises(ValueError, match=r"candidate 1 \(document 1\): it has text only.*no file 'only words'"):
        ranker.rank(query, [documents[0], "only words"])


def test_bad_calls(ranker: ZipRerankRanker, documents: list[Document], query: str) -> None:
    with pytest.raises(InvalidInput, match="2 doc_ids for 18 documents"):
        ranker.rank(query, documents, doc_ids=[1, 2])
    documents[3].metadata["page_number"] = 19
    with pytest.raises(InvalidInput, match=r"candidate 3 .*page 19 is outside 1..18"):
        ranker.rank(query, documents)
    assert ranker.rank(query, []).results == []
