"""Pages that are found in the pool by the file that they are of: which file that is, and what a name finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest
from pdf_files import drawn_pdf
from reportlab.pdfgen.canvas import Canvas
from ziprerank.errors import InvalidInput
from ziprerank.reranker import Reranker

QUERY = "dividend shareholders"


@pytest.fixture(scope="module")
def reranker(small_pages: Path) -> Iterator[Reranker]:
    with Reranker.from_bundle(small_pages, threads=1, check="size") as reranker:
        yield reranker


def document(words: str) -> bytes:
    def draw(canvas: Canvas) -> None:
        canvas.setFont("Helvetica", 20)
        for line in range(8):
            canvas.drawString(10, 370 - 40 * line, words)

    return drawn_pdf([draw])


@pytest.mark.parametrize("stage", ["wait", "vision"])
def test_a_file_that_is_replaced_while_it_is_read(reranker: Reranker, tmp_path: Path, stage: str) -> None:
    """What was read of the old file does not pass for the new one's, whichever of the two the pixels were of."""
    file, other = tmp_path / "a.pdf", tmp_path / "b.pdf"
    file.write_bytes(document("dividend of shareholders"))
    other.write_bytes(document("soup of onions"))
    wanted = reranker.rank(QUERY, document("soup of onions")).results[0].score
    old = reranker.rank(QUERY, document("dividend of shareholders")).results[0].score
    assert abs(wanted - old) > 0.01

    def replace(entered: str, _page: int | None) -> AbstractContextManager[object]:
        if entered == stage and other.exists():
            other.replace(file)
        return nullcontext()

    reranker.watch = replace
    try:
        reranker.rank(QUERY, file)
    finally:
        reranker.watch = lambda *_: nullcontext()
    assert not other.exists()
    assert reranker.rank(QUERY, file).results[0].score == wanted


def test_a_name_finds_a_page_of_its_size_and_engine(reranker: Reranker) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (64, 96, 3), np.uint8)
    window = reranker.engine.window([(64, 96)])
    window.encode(0, pixels)
    name: bytes = window.name(0)  # type: ignore[attr-defined]
    window.close()
    holds: Callable[[bytes], bool] = reranker.engine.holds  # type: ignore[attr-defined]
    assert holds(name) is True
    other = reranker.engine.window([(64, 96), (96, 64)])
    find = other.find_named  # type: ignore[attr-defined]
    assert find(0, name) is True
    with pytest.raises(InvalidInput, match="slot 1 was opened for a page of 96 x 64 px, got 64 x 96"):
        find(1, name)
    with pytest.raises(InvalidInput, match="a page's name has 24 bytes, got 3"):
        find(1, b"abc")
    other.close()
    with_pixels = reranker.engine.window([(64, 96)])
    unknown = bytes(16) + name[16:]
    assert holds(unknown) is False
    with pytest.raises(InvalidInput, match="a page's name has 24 bytes, got 3"):
        holds(b"abc")
    assert with_pixels.find_named(0, unknown) is False  # type: ignore[attr-defined]
    with_pixels.encode(0, pixels)
    assert np.frombuffer(name[16:], np.int32).tolist() == [64, 96]
    with_pixels.close()
