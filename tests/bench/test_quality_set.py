"""The committed query set is as documented, and other documents than the pinned ones are rejected."""

from __future__ import annotations

import gzip
import hashlib
from collections import Counter
from pathlib import Path

import pytest

from bench.quality.documents import DOCUMENTS, Document, located
from bench.quality.fetch import extracted
from bench.quality.make import NEAR, NEAR_PAGES, read_paraphrases
from bench.quality.queries import KINDS, Query, read_queries

QUERIES = read_queries()
PAGES = {document.name: document.pages for document in DOCUMENTS}


def test_size_and_kinds() -> None:
    assert len(QUERIES) >= 200
    assert Counter(query.document for query in QUERIES) == dict.fromkeys(PAGES, 40)
    held = Counter((query.document, query.kind) for query in QUERIES)
    assert {kind for _, kind in held} == set(KINDS)
    for name in PAGES:
        assert held[name, "paraphrase"] >= 10
        assert [held[name, kind] for kind in KINDS[:3]] == [9, 9, 9]
    assert len({(query.document, query.query) for query in QUERIES}) == len(QUERIES)


def test_queries_are_of_two_to_eight_words() -> None:
    assert {len(query.query.split()) for query in QUERIES} <= set(range(2, 9))


def test_candidates() -> None:
    for query in QUERIES:
        assert len(query.candidates) == len(set(query.candidates)) == 20
        assert query.page in query.candidates
        assert set(query.candidates) <= set(range(PAGES[query.document]))
    near = [sum(0 < abs(page - query.page) <= NEAR_PAGES for page in query.candidates) for query in QUERIES]
    assert sum(count >= NEAR for count in near) >= 0.95 * len(near)  # the rest are first and last pages
    assert min(near) >= NEAR // 2


def test_licence_texts_are_not_asked_about() -> None:
    licences = {(document.name, page) for document in DOCUMENTS for page in document.licence}
    assert len(licences) == 24
    assert not licences & {(query.document, query.page) for query in QUERIES}


def test_the_right_page_is_anywhere() -> None:
    """A constant answer must not gain: each of 20 places has a share of 0.05, within 5 standard errors."""
    places = Counter(query.candidates.index(query.page) for query in QUERIES)
    assert max(places.values()) <= 0.05 * len(QUERIES) + 5 * (0.05 * 0.95 * len(QUERIES)) ** 0.5
    assert len(places) >= 18


def test_paraphrases_are_those_of_the_file() -> None:
    asked = {(query.document, query.query, query.page) for query in QUERIES if query.kind == "paraphrase"}
    assert asked == {(name, query, page) for name, rows in read_paraphrases().items() for query, page in rows}


def test_a_row_without_its_page_is_refused() -> None:
    with pytest.raises(ValueError, match="page 3 one of them"):
        Query("a.pdf", "two words", "title", 3, (1, 2))


def test_a_missing_document_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"holds no octave\.pdf: run python -m bench\.quality\.fetch"):
        located(tmp_path, "octave.pdf")


def test_another_version_of_a_document_is_refused(tmp_path: Path) -> None:
    (tmp_path / "octave.pdf").write_bytes(b"%PDF-1.4 of another version")
    with pytest.raises(SystemExit, match=r"octave-doc 7\.3\.0-2"):
        located(tmp_path, "octave.pdf")


@pytest.mark.parametrize("packed", [False, True])
def test_a_pdf_comes_out_of_its_package(tmp_path: Path, packed: bool) -> None:
    data = b"%PDF-1.4"
    place = tmp_path / "usr/share/doc/x"
    place.mkdir(parents=True)
    (place / ("a.pdf.gz" if packed else "a.pdf")).write_bytes(gzip.compress(data) if packed else data)
    assert extracted(tmp_path, pinned(data)) == data


def test_a_package_with_another_pdf_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"x-doc 1 holds no usr/share/doc/x/a\.pdf"):
        extracted(tmp_path, pinned(b"here"))
    (tmp_path / "usr/share/doc/x").mkdir(parents=True)
    (tmp_path / "usr/share/doc/x/a.pdf").write_bytes(b"there")
    with pytest.raises(SystemExit, match="pinned is"):
        extracted(tmp_path, pinned(b"here"))


def pinned(data: bytes) -> Document:
    return Document("x-doc", "1", "usr/share/doc/x/a.pdf", hashlib.sha256(data).hexdigest(), 1, ())
