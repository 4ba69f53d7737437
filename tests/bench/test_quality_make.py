"""Queries are made from a small PDF whose text the test writes."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import pytest
from reportlab.pdfgen.canvas import Canvas

from bench.quality.make import NEAR, NEAR_PAGES, keywords, make, titles
from bench.quality.queries import Query, read_queries, write_queries
from bench.quality.text import Pages, is_listing, sentences

BODY = 40
PARAPHRASES = [("what the tenth page says", 11)]
SHARED = "Several common matters"  # the heading of two pages


@dataclass(frozen=True)
class Book:
    """A PDF with a blank page, a page of contents and ``BODY`` pages; ``texts`` holds their words by page."""

    file: Path
    headings: dict[int, str]
    texts: dict[int, str]


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Book:
    rng = random.Random(1)
    file = tmp_path_factory.mktemp("quality") / "book.pdf"
    canvas = Canvas(str(file), invariant=True)
    canvas.showPage()
    headings = {page: f"Notes about {word(rng)} {word(rng)}" for page in range(2, BODY + 2)}
    headings[5] = headings[20] = SHARED
    for row, (page, heading) in enumerate(headings.items()):
        canvas.drawString(50, 800 - 15 * row, f"{heading} . . . . . {page}")
    canvas.showPage()
    texts = {}
    for page, heading in headings.items():
        canvas.bookmarkPage(f"p{page}")
        canvas.addOutlineEntry(f"{page}.1 {heading}", f"p{page}")
        lines = [f"The {word(rng)} {word(rng)} keeps every {word(rng)} beside another {word(rng)}." for _ in range(9)]
        for row, line in enumerate([heading, *lines]):
            canvas.drawString(50, 800 - 20 * row, line)
        texts[page] = " ".join([heading, *lines])
        canvas.showPage()
    canvas.save()
    return Book(file, headings, texts)


def word(rng: random.Random) -> str:
    """Makes a word that is most likely on one page only."""
    return "".join(rng.choice("bdfgklmnprst") + rng.choice("aeiou") for _ in range(4))


@pytest.fixture(scope="module")
def queries(book: Book) -> list[Query]:
    return make(book.file, PARAPHRASES, per_kind=5)


def test_made_again_they_are_the_same(book: Book, queries: list[Query], tmp_path: Path) -> None:
    assert make(book.file, PARAPHRASES, per_kind=5) == queries
    write_queries(tmp_path / "queries.jsonl", queries)
    assert read_queries(tmp_path / "queries.jsonl") == queries


def test_each_kind_has_its_number(queries: list[Query]) -> None:
    kinds = [query.kind for query in queries]
    assert {kind: kinds.count(kind) for kind in kinds} == {"title": 5, "phrase": 5, "keywords": 5, "paraphrase": 1}


def test_queries_stand_on_their_page_only(book: Book, queries: list[Query]) -> None:
    for query in queries:
        on = [page for page, text in book.texts.items() if query.query in text]
        if query.kind == "title":
            assert query.query == book.headings[query.page] != SHARED
        elif query.kind == "phrase":
            assert on == [query.page]
        elif query.kind == "keywords":
            assert on == []
            holding = [page for page, text in book.texts.items() if set(query.query.split()) <= set(plain(text))]
            assert holding == [query.page]


def test_titles_are_all_headings_that_only_one_page_has(book: Book) -> None:
    found = list(titles(book.file, Pages.read(book.file), random.Random(0)))
    own = {(heading, page) for page, heading in book.headings.items() if heading != SHARED}
    assert len(found) == len(own)
    assert set(found) == own


def test_keywords_that_another_page_holds_are_not_asked() -> None:
    own, shared = (" ".join(word(rng) for _ in range(70)) for rng in (random.Random(2), random.Random(3)))
    pages = Pages([shared, own, " ".join(reversed(shared.split()))])
    assert [page for _, page in keywords(pages, random.Random(0))] == [1]


def test_licence_pages_are_ranked_but_not_asked_about(book: Book) -> None:
    licence = range(2, 30)
    made = make(book.file, [], licence, per_kind=5)
    assert {query.page for query in made} <= set(range(30, BODY + 2))
    assert {page for query in made for page in query.candidates} & set(licence)


def plain(text: str) -> list[str]:
    return text.lower().replace(".", "").split()


def test_candidates_are_other_pages_with_text(queries: list[Query]) -> None:
    for query in queries:
        assert len(set(query.candidates)) == 20
        assert query.page in query.candidates
        assert set(query.candidates) <= set(range(2, BODY + 2))
        assert sum(abs(page - query.page) <= NEAR_PAGES for page in query.candidates) >= NEAR + 1
    assert len({query.candidates.index(query.page) for query in queries}) > 3


def test_a_short_document_is_refused(tmp_path: Path) -> None:
    canvas = Canvas(str(tmp_path / "short.pdf"))
    canvas.drawString(50, 800, "One page")
    canvas.save()
    with pytest.raises(SystemExit, match="0 pages with text, at least 20 are needed"):
        make(tmp_path / "short.pdf", [])


def test_contents_and_indexes_are_told_from_prose() -> None:
    assert is_listing("Contents\nFirst steps . . . . . 3\nSecond steps . . . . . 9\n")
    assert is_listing("aardvark, 12\nbadger, 3, 14\nsee also\n")
    assert not is_listing("In the year 2024 we\nsaw 3 badgers.\nOne of them\nran away\n")


def test_sentences_leave_out_code() -> None:
    text = "x = f(a, b); y = g(c). The badger walked slowly over the wide green\nfield today. Short one. 3 + 4 = 7."
    assert [" ".join(parts) for parts in sentences(text)] == [
        "The badger walked slowly over the wide green field today."
    ]


def test_words_broken_over_lines_are_joined() -> None:
    pages = Pages(["a distri\ufffebution of ﬁles"])
    assert pages.words == [["a", "distribution", "of", "files"]]
    assert pages.holds_phrase("Distribution, of files", 0)
    assert not pages.holds_phrase("of distribution", 0)
