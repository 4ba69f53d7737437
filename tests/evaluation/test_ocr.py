"""The baseline of OCR and BM25 reads each page once, also over a kill, and names the page that it cannot read."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from eval_data import page_image
from ziprerank.bundle import Bundle
from ziprerank.errors import MissingDependency, PageError
from ziprerank.evaluation.formats import read_data
from ziprerank.evaluation.ocr import OcrBm25


def test_without_rapidocr_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(MissingDependency, match=r"ziprerank\[ocr\]"):
        OcrBm25(tmp_path / "ocr.jsonl", Bundle.load().image)


def test_pages_are_ranked_by_what_is_read(tmp_path: Path) -> None:
    pytest.importorskip("rapidocr", reason="RapidOCR is not installed: pip install 'ziprerank[ocr]'")
    folder = tmp_path / "data"
    (folder / "documents").mkdir(parents=True)
    for name, text in (("a", "the board"), ("b", "a whale")):
        (folder / "documents" / f"{name}.png").write_bytes(page_image(text, "PNG"))
    (folder / "queries.tsv").write_text("q1\twhale\n", encoding="utf-8")
    (folder / "qrels.txt").write_text("q1 0 b 1\n", encoding="utf-8")
    data, rules, cache = read_data(folder), Bundle.load().image, tmp_path / "ocr.jsonl"
    system = OcrBm25(cache, rules)
    (first,) = system.rank("whale", ["a", "b"], data)
    assert (first.order, first.read) == ([1, 0], 2)
    assert first.ms["text"] > 0
    assert first.read_cpu_ms > 0
    (again,) = system.rank("board", ["a", "b"], data)
    assert (again.order, again.read, again.ms["text"]) == ([0, 1], 0, 0)
    kept = cache.read_text(encoding="utf-8")
    assert [json.loads(line)["page"] for line in kept.splitlines()] == ["a", "b"]
    cache.write_text(kept + '{"page": "c", "te', encoding="utf-8")  # cut off by a kill
    (later,) = OcrBm25(cache, rules).rank("whale", ["a", "b"], data)
    assert (later.order, later.read) == ([1, 0], 2)  # its time is that of the first reading
    assert later.ms["text"] == pytest.approx(first.ms["text"])
    assert later.read_cpu_ms == pytest.approx(first.read_cpu_ms)


def test_the_page_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By its place among all candidates, also where others were read for a query before."""

    def engine(*_: object, **__: object) -> SimpleNamespace:
        return SimpleNamespace(txts=("whale",))

    monkeypatch.setitem(sys.modules, "rapidocr", SimpleNamespace(RapidOCR=lambda **_: engine))
    folder = tmp_path / "data"
    (folder / "documents").mkdir(parents=True)
    (folder / "documents" / "a.jpg").write_bytes(page_image("whale"))
    for name in "bc":
        (folder / "documents" / f"{name}.jpg").write_bytes(page_image("whale")[:300])
    (folder / "queries.tsv").write_text("q1\twhale\n", encoding="utf-8")
    (folder / "qrels.txt").write_text("q1 0 a 1\n", encoding="utf-8")
    data, system = read_data(folder), OcrBm25(tmp_path / "ocr.jsonl", Bundle.load().image)
    (found,) = system.rank("whale", ["a"], data)
    assert (found.order, found.read) == ([0], 1)
    for pages in (["a", "b"], ["b", "a"]):
        with pytest.raises(PageError) as caught:
            system.rank("whale", pages, data)
        assert caught.value.index == pages.index("b")
    for pages in (["c"], ["a", "c", "b"]):  # the second time both are known to be bad, and one is named
        with pytest.raises(PageError) as caught:
            system.rank("whale", pages, data)
        assert (caught.value.index, "none of" in caught.value.reason) == (pages.index("c"), False)
    patient = OcrBm25(tmp_path / "ocr.jsonl", Bundle.load().image, on_bad_page="skip")
    (found,) = patient.rank("whale", ["b", "a"], data)
    assert (found.order, list(found.skipped)) == ([1], ["b"])
    with pytest.raises(PageError):
        patient.rank("whale", ["b"], data)
