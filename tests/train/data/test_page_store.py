"""What is written to a page store is what comes back, and which documents are taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pypdfium2 as pdfium
import pytest
import tiny_checkpoint
from store_pages import make_store, write_documents
from tokenizers import Tokenizer
from ziprerank.train.data.page_store import PageStore, WordTokens, documents_in, sample_pages, write_store
from ziprerank.train.data.pdf_text import render, words
from ziprerank.train.errors import TrainError

TOKENIZER = Tokenizer.from_file(str(tiny_checkpoint.TOKENIZER))


def test_round_trip(tmp_path: Path) -> None:
    store = make_store(tmp_path, documents=3, pages=2)
    assert len(store) == 6
    assert {name: len(pages) for name, pages in store.documents.items()} == {
        f"pdfs/manual-{number}.pdf": 2 for number in range(3)
    }
    tokens = 0
    for index in range(len(store)):
        page = store[index]
        height, width = store.size(index)
        assert (height, width) == page.pixels.shape
        assert height % 32 == width % 32 == 0
        source = pdfium.PdfDocument(tmp_path / page.document)[page.number]
        assert page.document == store.document(index)
        assert np.array_equal(page.pixels, render(source, height, width))
        text = words(source, height, width)
        assert page.words == store.words(index) == [word.text for word in text]
        assert bytes(page.characters).decode() == "".join(page.words)
        assert np.array_equal(page.character_boxes, np.concatenate([word.boxes for word in text]))
        for number, word in enumerate(text):
            mine = page.token_words == number
            assert page.tokens[mine].tolist() == TOKENIZER.encode(" " + word.text).ids
            boxes = page.token_boxes[mine]
            assert np.array_equal(boxes[:, :2].min(0), word.boxes[:, :2].min(0))
            assert np.array_equal(boxes[:, 2:].max(0), word.boxes[:, 2:].max(0))
        tokens += len(page.tokens)
    assert len(store.token_ids) == tokens


def test_tokens_cover_the_characters_of_their_word() -> None:
    split = WordTokens(TOKENIZER)
    for word in ("Configuration", "x86_64", "na\u00efve", "\u0130stanbul"):
        spans = split(word)
        assert spans[0][1] == 0
        assert max(end for *_, end in spans) == len(word)
        assert split(word) == spans
        text = TOKENIZER.decode([token for token, *_ in spans]).strip()
        assert text in (word, word.lower())


def test_refuses_a_used_folder_and_no_pages(tmp_path: Path) -> None:
    make_store(tmp_path, documents=1, pages=1)
    with pytest.raises(TrainError, match="is not empty"):
        write_store(tmp_path / "store", [], TOKENIZER, 5)
    with pytest.raises(TrainError, match="no page with enough words"):
        write_store(tmp_path / "other", [], TOKENIZER, 5)
    with pytest.raises(TrainError, match="holds no page store"):
        PageStore(tmp_path / "pdfs")


def test_limit_and_words_decide_which_pages_are_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_documents(tmp_path / "pdfs", documents=2, pages=5, words=8)
    (tmp_path / "pdfs" / "broken.pdf").write_bytes(b"%PDF-1.4 not really")
    documents = documents_in([tmp_path / "pdfs"], [])

    def numbers(**settings: int) -> list[tuple[str, int]]:
        pages = sample_pages(documents, 1, scale=(900.0, 1000.0), **settings)
        return [(path.name, number) for path, number, *_ in pages]

    taken = numbers(per_document=3, least_words=8)
    assert taken == numbers(per_document=3, least_words=8)
    for name in ("manual-0.pdf", "manual-1.pdf"):
        mine = [number for other, number in taken if other == name]
        assert mine == list(range(mine[0], mine[0] + 3))
    assert numbers(per_document=3, least_words=9) == []
    assert "skipped broken.pdf" in capsys.readouterr().out
    pages = sample_pages(documents, 1, scale=(900.0, 1000.0), per_document=9, least_words=1)
    assert write_store(tmp_path / "store", pages, TOKENIZER, 4) == 4
    assert len(PageStore(tmp_path / "store")) == 4


def test_documents_that_lie_in_two_folders_are_taken_once(tmp_path: Path) -> None:
    for name, size in (("a/x/one.pdf", 5), ("b/y/one.pdf", 5), ("b/y/two.pdf", 5), ("b/old/one.pdf", 6)):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"1" * size)

    def names(*skip: str) -> list[str]:
        found = documents_in([tmp_path / "a", tmp_path / "b"], skip)
        return [path.relative_to(tmp_path).as_posix() for path in found]

    assert names() == ["a/x/one.pdf", "b/old/one.pdf", "b/y/two.pdf"]
    assert names("old") == ["a/x/one.pdf", "b/y/two.pdf"]
    assert names("/a/", "old") == ["b/y/one.pdf", "b/y/two.pdf"]
