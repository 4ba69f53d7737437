"""Numbers are read by their value, whatever type a caller's library has for them."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ziprerank.errors import InvalidInput
from ziprerank.inputs.pages import Pdf, open_pages
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineOptions
from ziprerank.values import real_number, whole_number


@pytest.mark.parametrize("value", [3, 3.0, np.int64(3), np.uint8(3), np.float32(3), Fraction(3), Fraction(6, 2)])
def test_whole_numbers(value: Any) -> None:
    number = whole_number(value)
    assert number == 3
    assert type(number) is int


@pytest.mark.parametrize(
    "value",
    [
        True,
        np.bool_(True),
        "3",
        3.5,
        np.float64(3.5),
        float("nan"),
        float("inf"),
        None,
        Decimal(3),
        [3],
        Fraction(10**400, 3),
    ],
)
def test_what_is_no_whole_number(value: Any) -> None:
    assert whole_number(value) is None


def test_real_numbers() -> None:
    assert real_number(np.float32(0.5)) == 0.5
    assert real_number(1) == 1.0
    assert [real_number(value) for value in (True, "0.5", float("nan"), float("inf"), None, 10**400)] == [None] * 6
    assert whole_number(10**400) == 10**400


def test_numbers_beyond_every_float_are_refused(reranker: Reranker, sample: Path) -> None:
    with pytest.raises(InvalidInput, match="keep_ratio"):
        reranker.rank("fish soup", sample, keep_ratio=10**400)
    with pytest.raises(InvalidInput, match="budget_ms"):
        reranker.rank("fish soup", sample, budget_ms=10**400)


@pytest.mark.parametrize("given", [tuple, iter, np.array, lambda texts: dict.fromkeys(texts).keys()])
def test_queries_come_in_any_iterable(given: Any, reranker: Reranker, sample: Path) -> None:
    queries, pages = ["fish soup", "dividend"], Pdf(sample, range(1, 4))
    found = reranker.rank_many(given(queries), pages)
    assert [ranking.query for ranking in found] == queries
    assert [ranking.results for ranking in found] == [one.results for one in reranker.rank_many(queries, pages)]


def test_a_ranking_takes_numpys_numbers(reranker: Reranker, sample: Path) -> None:
    pages = Pdf(sample, np.arange(1, 7))
    plain = reranker.rank("fish soup", Pdf(sample, range(1, 7)), 3, keep_ratio=0.5, window=4, stride=2)
    same = reranker.rank(
        "fish soup",
        pages,
        np.int64(3),
        keep_ratio=np.float32(0.5),
        window=np.int32(4),
        stride=np.uint8(2),  # type: ignore[arg-type]
    )
    assert same.results == plain.results
    options = EngineOptions(threads=np.int64(1), pool_bytes=np.float64(1 << 20))  # type: ignore[arg-type]
    assert (type(options.threads), options.pool_bytes) == (int, 1 << 20)


@pytest.mark.parametrize("pages", [3, np.int64(3), 3.0, [3], np.array([3]), "3"])
def test_one_page_of_a_pdf(reranker: Reranker, sample: Path, pages: Any) -> None:
    with open_pages(Pdf(sample, pages), reranker.bundle.image) as opened:
        assert [page.page for page in opened] == [3]


@pytest.mark.parametrize("pages", [True, 2.5, [2.5], np.array([1.5]), np.array(3)])
def test_a_page_that_is_no_whole_number(reranker: Reranker, sample: Path, pages: Any) -> None:
    with pytest.raises(InvalidInput, match="not a whole number"), open_pages(Pdf(sample, pages), reranker.bundle.image):
        pass


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_a_file(reranker: Reranker, sample: Path, kind: type) -> None:
    data = kind(sample.read_bytes())
    for given in (data, Pdf(data, "1-18")):
        with open_pages(given, reranker.bundle.image) as opened:
            assert [(page.source, page.page) for page in opened] == [("PDF bytes", number) for number in range(1, 19)]


def test_a_ranking_is_a_sequence_of_pages(reranker: Reranker, sample: Path) -> None:
    ranking = reranker.rank("fish soup", sample, 5)
    assert ranking[0] is ranking.results[0]
    assert ranking[-1] is ranking.results[4]
    assert ranking[np.int64(1)] is ranking.results[1]
    assert ranking[:3] == ranking.results[:3]
    with pytest.raises(IndexError):
        ranking[5]
