"""Messages of errors: however much they quote, they stay short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ziprerank import Pdf
from ziprerank.errors import MOST_TEXT, QUOTED, BundleError, PageError, ZipRerankError, quoted, shortened
from ziprerank.reranker import Reranker

LONG = "x" * 1_000_000


def test_what_is_quoted_is_cut_at_a_stated_length() -> None:
    assert quoted("short") == "'short'"
    assert quoted("x" * QUOTED) == repr("x" * QUOTED)
    assert quoted(LONG) == f"{'x' * QUOTED!r}... (1,000,000 characters)"
    assert quoted(b"x" * 1000) == f"{b'x' * QUOTED!r}... (1,000 bytes)"
    assert len(quoted({"key": [LONG] * 1000})) < 3 * QUOTED
    assert len(quoted(10**4000)) < 3 * QUOTED
    assert quoted(1 << 20_000) == "a number of 20,001 bits"
    assert quoted({"a": [1, 2]}) == "{'a': [1, 2]}"


def test_a_message_loses_its_middle() -> None:
    assert shortened("x" * MOST_TEXT) == "x" * MOST_TEXT
    text = shortened(f"begin {LONG} end")
    assert text.startswith("begin x")
    assert text.endswith("x end")
    assert f"... ({len(LONG) + 10 - MOST_TEXT:,} characters left out) ..." in text
    assert str(BundleError(LONG)) == shortened(LONG)
    error = PageError(LONG, source=LONG, page=3)
    assert len(str(error.at(2))) < 3 * MOST_TEXT
    assert str(ZipRerankError()) == ""


@pytest.mark.parametrize(
    "options",
    [
        {"keep_ratio": LONG},
        {"top_k": LONG},
        {"window": LONG},
        {"stride": LONG},
        {"query": LONG},
        {"pages": LONG},
        {"pages": [LONG] * 3},
        {"pages": LONG.encode()},
        {"pages": Pdf("PDF", pages=LONG)},
        {"pages": {LONG: LONG}},
    ],
)
def test_no_argument_comes_back_whole(reranker: Reranker, sample: Path, options: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"query": "fish", "pages": sample, **options}
    if isinstance(arguments["pages"], Pdf):
        arguments["pages"] = Pdf(sample, pages=arguments["pages"].pages)
    with pytest.raises(ZipRerankError) as caught:
        reranker.rank(**arguments)
    assert len(str(caught.value)) < 3 * MOST_TEXT


@pytest.mark.parametrize(
    "options",
    [{name: LONG} for name in ("path", "provider", "threads", "pool_bytes", "blank", "page_cache", "check")],
)
def test_no_option_comes_back_whole(options: dict[str, Any]) -> None:
    with pytest.raises(ZipRerankError) as caught:
        Reranker.from_bundle(**options)
    assert len(str(caught.value)) < 3 * MOST_TEXT
