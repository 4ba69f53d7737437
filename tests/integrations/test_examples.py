"""Tests that each example, run as its first line says, prints the library's ranking of the same pages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pypdfium2
import pytest
from ziprerank.inputs.pages import PageInput
from ziprerank.reranker import Reranker

EXAMPLES = sorted((Path(__file__).parents[2] / "python" / "examples").glob("rank_with_*.py"))


@pytest.fixture(scope="module")
def in_the_box() -> Reranker:
    return Reranker.from_bundle()


def test_every_adapter_has_an_example() -> None:
    names = {path.stem.removeprefix("rank_with_") for path in EXAMPLES}
    assert names == {"langchain", "llama_index", "haystack", "rerankers", "sentence_transformers"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem.removeprefix("rank_with_"))
def test_example(example: Path, in_the_box: Reranker, sample: Path, query: str) -> None:
    done = subprocess.run(
        [sys.executable, example, query, sample],
        env={**os.environ, "HAYSTACK_TELEMETRY_ENABLED": "False", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pages: PageInput | list[PageInput] = sample
    if "sentence_transformers" in example.stem:  # it passes images, whose resolution is not the bundle's
        pages = [page.render(scale=2).to_pil() for page in pypdfium2.PdfDocument(sample)]
    wanted = [f"p. {page.index + 1}  {page.probability:.3f}" for page in in_the_box.rank(query, pages, top_k=5)]
    assert done.stdout.splitlines() == wanted
