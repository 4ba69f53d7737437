"""The true text of PDF pages: words, prose sentences, and which pages hold text worth asking about."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from functools import cached_property
from pathlib import Path

import pypdfium2 as pdfium  # type: ignore[import-untyped]

TARGET_WORDS = 60  # a page that is asked about holds at least so many
CANDIDATE_WORDS = 30  # any other page of a row
LISTING_SHARE = 0.4  # of lines that end in a number or hold leader dots: contents, index, number tables

# PDFium puts this where a line was broken within a word; whether the hyphen was the word's own cannot be known
SOFT_BREAK = "\ufffe"

STOP_WORDS = frozenset(
    " ".join(
        (
            "a about above after all also an and any are as at be because been before being both but by can could did",
            "do does each either else every few first for from get give given had has have having here how however if",
            "in instead into is it its itself just last less like made make many may might more most much must need",
            "new next no not now of off on once one only onto or other otherwise our out over own same second see set",
            "should since so some such than that the their them then there therefore these they this those three",
            "through thus to too two under until up upon use used useful user uses using very via want was way we well",
            "were what when where whether which while who whose why will with within without would you your yourself",
        )
    ).split()
)


class Pages:
    """A document's pages by their 0-based number; ``licence`` are the numbers of those that print one."""

    def __init__(self, texts: list[str], licence: Collection[int] = ()) -> None:
        self.texts = texts
        self._licence = licence
        self.words = [words_of(text) for text in texts]
        self._joined = [f" {' '.join(words)} " for words in self.words]
        self._vocabulary = [frozenset(words) for words in self.words]

    @classmethod
    def read(cls, file: Path, licence: Collection[int] = ()) -> Pages:
        with pdfium.PdfDocument(file) as document:
            return cls([page.get_textpage().get_text_range() for page in document], licence)

    @cached_property
    def candidates(self) -> list[int]:
        """Pages with text that are no contents or index."""
        return [
            page
            for page, text in enumerate(self.texts)
            if len(self.words[page]) >= CANDIDATE_WORDS and not is_listing(text)
        ]

    @cached_property
    def targets(self) -> list[int]:
        """Candidates with enough text to ask about, and of the document's own."""
        return [page for page in self.candidates if len(self.words[page]) >= TARGET_WORDS and page not in self._licence]

    def stands_on(self, query: str, page: int) -> bool:
        """Whether the page holds the query's words one after another, case and punctuation aside."""
        return f" {' '.join(words_of(query))} " in self._joined[page]

    def stands_elsewhere(self, query: str, page: int) -> bool:
        """Whether another candidate does."""
        return any(self.stands_on(query, other) for other in self.candidates if other != page)

    def held_elsewhere(self, query: str, page: int) -> bool:
        """Whether another candidate holds all the query's words, wherever."""
        wanted = set(words_of(query))
        return any(wanted <= self._vocabulary[other] for other in self.candidates if other != page)


def words_of(text: str) -> list[str]:
    """Lower-case runs of letters and digits; ligatures and the like are taken apart."""
    plain = unicodedata.normalize("NFKC", text.replace(SOFT_BREAK, ""))
    return re.findall(r"[^\W_]+", plain.lower())


def is_listing(text: str) -> bool:
    """Contents, an index or a table of numbers, by how its lines look."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    listed = sum(bool(re.search(r"(\. ?){4}|(\d|\s[ivxl]+)$", line)) for line in lines)
    return bool(lines) and listed >= LISTING_SHARE * len(lines)


def sentences(text: str) -> list[list[str]]:
    """Sentences of prose as their words with punctuation; code, formulas and words broken over lines leave none."""
    found = []
    for sentence in re.split(r"(?<=[.!?])\s+", " ".join(text.split())):
        parts = sentence.split(" ")
        plain = sum(bool(re.fullmatch(r"[A-Za-z][a-z’'-]*[,.:;!?]?", part)) for part in parts)
        if re.fullmatch(r"[A-Z].*[a-z][.!?]", sentence) and len(parts) >= 8 and plain >= 0.85 * len(parts):
            found.append(parts)
    return found


def is_content(word: str) -> bool:
    """A lower-case word that says what a page is about."""
    return bool(re.fullmatch(r"[a-z]{4,}", word)) and word not in STOP_WORDS
