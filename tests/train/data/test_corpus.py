"""Splits and de-duplication of a corpus folder, and what of a package is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from ziprerank.train.data.corpus import documents, extract, paragraphs, split_of
from ziprerank.train.errors import TrainError

SHARED = "This licence notice stands in every one of the documents."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(200):
        own = f"Document {number} tells of ferries, tides and the harbour."
        place = tmp_path / f"part{number % 3}" / f"{number}.txt"
        place.parent.mkdir(exist_ok=True)
        place.write_text(f"{SHARED}\n\n{own}\n\nToo short.\n", encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"not text at all but read by nobody")
    return tmp_path


def test_split_is_disjoint_and_complete(folder: Path) -> None:
    train, held_out = (list(paragraphs(folder, split)) for split in ("train", "held-out"))
    assert not set(train) & set(held_out)
    assert len(set(train)) == len(train)
    assert len(train) + len(held_out) == 201  # the shared one once
    assert 8 <= len(held_out) <= 34  # 20 expected of 200; three standard deviations


def test_a_document_is_in_one_split_as_a_whole(folder: Path) -> None:
    held_out = set(paragraphs(folder, "held-out"))
    for name, texts in documents(folder):
        own = [text for text in texts if text.startswith("Document")]
        assert {text in held_out for text in own} == {split_of(name) == "held-out"}


def test_shortest_paragraph(folder: Path) -> None:
    assert "Too short." not in set(paragraphs(folder, "train"))
    assert "Too short." in {*paragraphs(folder, "train", words=2), *paragraphs(folder, "held-out", words=2)}


def test_what_cannot_be_read(folder: Path) -> None:
    with pytest.raises(TrainError, match="split 'test': one of train, held-out"):
        list(paragraphs(folder, "test"))
    with pytest.raises(TrainError, match="no folder"):
        list(paragraphs(folder / "none", "train"))


def test_extract_leaves_second_forms_and_translations_out(tmp_path: Path) -> None:
    source, target = tmp_path / "package", tmp_path / "text"
    for name, text in {
        "usr/share/doc/p/guide.html": "<p>The page of the guide.",
        "usr/share/doc/p/guide.txt": "The source of the guide.",
        "usr/share/doc/p/notes.txt": "Notes.\n\nMore notes.",
        "usr/share/doc/p/copyright": "Anyone may copy.",
        "usr/share/doc/p/p-guide-de/a.html": "<p>Die Seite.",
        "usr/share/man/man1/p.1": ".SH NAME\np \\- a program",
        "usr/share/man/man1/empty.1": ".TH EMPTY",
    }.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text, encoding="utf-8")
    written = extract(source, "p", target)
    texts = {path.name: path.read_text(encoding="utf-8") for path in target.iterdir()}
    assert texts == {
        "p__p_guide.html.txt": "The page of the guide.\n",
        "p__p_notes.txt.txt": "Notes.\n\nMore notes.\n",
        "p__man_man1_p.1.txt": "NAME\n\np - a program\n",
    }
    assert written == sum(map(len, texts.values()))
