"""BM25 on what an OCR reads: ranks are those of the text that comes out, and each OCR is called as it wants to be."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from reportlab.pdfgen.canvas import Canvas

from bench.quality.ocr import DPI, ocr_bm25, reader_of
from bench.quality.queries import Query, write_queries
from bench.quality.run import main as run

TEXTS = ("kalomi rentus vorbel", "rentus rentus", "belkami", "kalomi")
QUERIES = [
    Query("a.pdf", "rentus", "keywords", 1, (0, 1, 3)),
    Query("a.pdf", "vorbel kalomi", "keywords", 0, (3, 0, 1)),
    Query("a.pdf", "kalomi", "keywords", 0, (1, 0, 3)),
]
RANKS = [1, 1, 2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A PDF whose pages a reader can tell apart: page n is n + 1 inches wide and says the n-th text."""
    canvas = Canvas(str(tmp_path / "a.pdf"), invariant=1)
    for number, text in enumerate(TEXTS):
        canvas.setPageSize((72 * (number + 1), 72))
        canvas.setFont("Helvetica", 4)
        canvas.drawString(4, 30, text)
        canvas.showPage()
    canvas.save()
    return tmp_path


def text_of(picture: NDArray[np.uint8]) -> str:
    assert (picture.dtype, picture.shape[0]) == (np.uint8, DPI)
    assert picture.min() < 200  # the page is printed on it
    return TEXTS[picture.shape[1] // DPI - 1]


def test_ranks_are_those_of_the_text_that_was_read(folder: Path) -> None:
    seen = []

    def reader(picture: NDArray[np.uint8]) -> str:
        seen.append(picture.shape[1] // DPI - 1)
        return text_of(picture)

    found = ocr_bm25("an OCR", reader, QUERIES, folder)
    assert (found.system, found.ranks) == ("an OCR, BM25", RANKS)
    assert seen == [0, 1, 3]  # each page once, and none that no query ranks
    assert found.page_ms is not None
    assert found.page_ms > 0


def test_rapidocr_reads_for_the_benchmark(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def engine(picture: NDArray[np.uint8], use_cls: bool) -> SimpleNamespace:
        assert not use_cls
        assert picture.shape[2] == 3
        return SimpleNamespace(txts=tuple(text_of(picture[:, :, 0]).split()))

    monkeypatch.setitem(sys.modules, "rapidocr", SimpleNamespace(RapidOCR=lambda **_: engine))
    write_queries(folder / "asked.jsonl", QUERIES)
    arguments = [str(folder / "rows.jsonl"), "--documents", str(folder), "--queries", str(folder / "asked.jsonl")]
    run([*arguments, "--bundle", "--ocr", "rapidocr"])
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    (row,) = (row for row in rows if row["system"] == "rapidocr, BM25" and row["document"] == row["kind"] == "all")
    assert row["recall@1"] == pytest.approx(2 / 3, abs=1e-4)
    assert row["page_ms"] >= 0
    assert [other["to"]["system"] for other in row["differences"]] == ["bm25 on the true text"]


def test_tesseract_is_called_with_a_png(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "tesseract"
    program.write_text(
        f"#!{sys.executable}\n"
        "import io, sys\n"
        "from PIL import Image\n"
        "picture = Image.open(io.BytesIO(sys.stdin.buffer.read()))\n"
        "print(sys.argv[1:], picture.size, [round(side) for side in picture.info['dpi']])\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    read = reader_of("tesseract")
    page = np.full((50, 40), 255, np.uint8)
    assert read(page).strip() == f"['stdin', 'stdout', '-l', 'eng'] (40, 50) [{DPI}, {DPI}]"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('no English data')\n")
    with pytest.raises(SystemExit, match="tesseract failed: no English data"):
        read(page)


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(SystemExit, match="no program tesseract; apt-get install tesseract-ocr"):
        reader_of("tesseract")
    with pytest.raises(SystemExit, match=r"ziprerank\[ocr\]"):
        reader_of("rapidocr")
