"""The tables of the documents are those of the committed results."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.report import DOCUMENTS, with_tables

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_show_the_committed_results(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert with_tables(document, text) == text
