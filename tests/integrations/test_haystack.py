"""Tests of the Haystack component in real pipelines of haystack-ai."""

from __future__ import annotations

import asyncio
import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
from haystack import Document, Pipeline
from haystack.components.joiners import DocumentJoiner
from haystack.core.errors import DeserializationError
from haystack.dataclasses import ByteStream
from haystack.utils import Secret
from option_values import CALL_VALUES, ENGINE_VALUES
from ziprerank.errors import BundleError, InvalidInput
from ziprerank.integrations.haystack import ZipRerankRanker
from ziprerank.reranker import Reranker

from .conftest import Want


@pytest.fixture
def documents(sample: Path) -> list[Document]:
    return [
        Document(content=f"page {page}", meta={"file_path": str(sample), "page_number": page + 1}, score=0.5)
        for page in range(18)
    ]


@pytest.fixture
def ranker(reranker: Reranker) -> ZipRerankRanker:
    return ZipRerankRanker(reranker=reranker)


def pages(best: list[Document]) -> list[int]:
    return [document.meta["page_number"] - 1 for document in best]


@pytest.mark.parametrize("scale", ["probability", "sigmoid", "logit"])
def test_ranks_as_the_library(
    reranker: Reranker, documents: list[Document], query: str, want: Want, *, scale: Any
) -> None:
    before = copy.deepcopy(documents)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Haystack warns if a component changes its input
        best = ZipRerankRanker(reranker=reranker, scale=scale).run(query, documents)["documents"]
    assert pages(best) == want.order
    assert [document.score for document in best] == want.on_scale(scale)
    assert documents == before
    assert [document.id for document in best] == [documents[at].id for at in want.order]


def test_top_k(reranker: Reranker, documents: list[Document], query: str, want: Want) -> None:
    ranker = ZipRerankRanker(reranker=reranker, top_k=4)
    assert pages(ranker.run(query, documents)["documents"]) == want.order[:4]
    assert pages(ranker.run(query, documents, top_k=2)["documents"]) == want.order[:2]
    assert pages(asyncio.run(ranker.run_async(query, documents))["documents"]) == want.order[:4]
    with pytest.raises(ValueError, match="top_k 0"):
        ranker.run(query, documents, top_k=0)


def test_blobs(ranker: ZipRerankRanker, query: str, *, files: Any, stored: Any, want_pictures: Want) -> None:
    """Documents may be images as ByteStream, PDFs as ByteStream with a page, or image files."""
    shown: list[dict[str, Any]] = [
        *({"blob": ByteStream(file, mime_type="image/png")} for file in files[:3]),
        *({"meta": {"file_path": str(path)}} for path in stored[3:]),
    ]
    documents = [Document(id=str(at), **options) for at, options in enumerate(shown)]
    best = ranker.run(query, documents)["documents"]
    assert [int(document.id) for document in best] == want_pictures.order
    assert [document.score for document in best] == want_pictures.probabilities


def test_pdf_in_a_blob(ranker: ZipRerankRanker, sample: Path, query: str, want: Want) -> None:
    blob = ByteStream.from_file_path(sample)
    documents = [Document(blob=blob, meta={"page_number": page + 1}) for page in range(18)]
    assert pages(ranker.run(query, documents)["documents"]) == want.order


def test_in_a_pipeline_through_yaml(
    reranker: Reranker, bundle: Path, documents: list[Document], query: str, want: Want
) -> None:
    pipeline = Pipeline()
    pipeline.add_component("retriever", DocumentJoiner())
    pipeline.add_component("ranker", ZipRerankRanker(reranker=reranker, top_k=5, scale="logit", window=20))
    pipeline.connect("retriever.documents", "ranker.documents")
    text = pipeline.dumps()
    assert str(bundle) in text
    again = Pipeline.loads(text, allowed_modules=["ziprerank.*"])
    again.warm_up()
    assert again.get_component("ranker").reranker.loaded
    for tried in (pipeline, again):
        best = tried.run({"retriever": {"documents": documents}, "ranker": {"query": query}})["ranker"]["documents"]
        assert [document.score for document in best] == [pytest.approx(score, abs=1e-5) for score in want.logits[:5]]
    assert again.dumps() == text
    with pytest.raises(DeserializationError):  # see allowed_modules in the module's docstring
        Pipeline.loads(text)


def test_to_dict_and_from_dict() -> None:
    options: dict[str, Any] = {
        **ENGINE_VALUES,
        **CALL_VALUES,
        "top_k": 3,
        "scale": "logit",
        "file_path_meta_field": "path",
        "page_number_meta_field": "page",
        "root_path": "/data",
    }
    password = Secret.from_env_var("PDF_PASSWORD", strict=False)
    written = ZipRerankRanker(password=password, **options).to_dict()
    assert written["type"] == "ziprerank.integrations.haystack.ZipRerankRanker"
    assert written["init_parameters"] == {**options, "password": password.to_dict()}
    assert ZipRerankRanker.from_dict(copy.deepcopy(written)).to_dict() == written
    with pytest.raises(ValueError, match="token"):  # a secret that is no variable's is never written
        ZipRerankRanker(password=Secret.from_token("x")).to_dict()


def test_warm_up_loads_once(bundle: Path) -> None:
    ranker = ZipRerankRanker(bundle=str(bundle), threads=1)
    assert not ranker.reranker.loaded
    ranker.warm_up()
    loaded = ranker.reranker.get()
    ranker.warm_up()
    assert ranker.reranker.get() is loaded
    with pytest.raises(BundleError):
        ZipRerankRanker(bundle="/no/such/bundle").warm_up()


def test_text_is_refused(ranker: ZipRerankRanker, documents: list[Document], query: str) -> None:
    documents[5] = Document(id="d5", content="only words")
    with pytest.raises(ValueError, match=r"candidate 5 \(document d5\): it has text only.*meta\['file_path'\]"):
        ranker.run(query, documents)


def test_bad_input(ranker: ZipRerankRanker, documents: list[Document], query: str, files: list[bytes]) -> None:
    documents[2] = Document(blob=ByteStream(files[0][:200]))
    with pytest.raises(InvalidInput, match=r"candidate 2 .*damaged"):
        ranker.run(query, documents)
    with pytest.raises(ValueError, match="the query is empty"):
        ranker.run(" ", documents[:2])
    with pytest.raises(ValueError, match="scale 'rank'"):
        ZipRerankRanker(scale="rank")  # type: ignore[arg-type]
    assert ZipRerankRanker(bundle="/no/such/bundle").run(query, []) == {"documents": []}
