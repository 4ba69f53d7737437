"""The true text of PDF pages: words, prose sentences, and the pages with enough text to ask about."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cached_property
from pathlib import Path

from ziprerank.evaluation.pdf_text import pdf_texts
from ziprerank.first_stage.bm25 import words_of

TARGET_WORDS = 60  # least words of a page that is asked about
CANDIDATE_WORDS = 30  # least words of any other candidate
LISTING_SHARE = 0.4  # of lines that end in a number or hold leader dots: contents, index, number tables

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
    """A document's pages by their 0-based number; ``licence`` holds the pages that print a licence."""

    def __init__(self, texts: list[str], licence: Collection[int] = ()) -> None:
        self.texts = texts
        self._licence = licence
        self.words = [words_of(text) for text in texts]
        self._joined = [f" {' '.join(words)} " for words in self.words]
        self._vocabulary = [frozenset(words) for words in self.words]

    @classmethod
    def read(cls, file: Path, licence: Collection[int] = ()) -> Pages:
        """Reads the text of every page of a PDF."""
        return cls(pdf_texts(file), licence)

    @cached_property
    def candidates(self) -> list[int]:
        """Pages with text, except contents and index."""
        return [
            page
            for page, text in enumerate(self.texts)
            if len(self.words[page]) >= CANDIDATE_WORDS and not is_listing(text)
        ]

    @cached_property
    def targets(self) -> list[int]:
        """Candidates with enough text to ask about, except licence texts."""
        return [page for page in self.candidates if len(self.words[page]) >= TARGET_WORDS and page not in self._licence]

    def holds_phrase(self, query: str, page: int) -> bool:
        """Whether the page holds the query's words in sequence, ignoring case and punctuation."""
        return f" {' '.join(words_of(query))} " in self._joined[page]

    def phrase_elsewhere(self, query: str, page: int) -> bool:
        """Whether another candidate holds the query's words in sequence."""
        return any(self.holds_phrase(query, other) for other in self.candidates if other != page)

    def words_elsewhere(self, query: str, page: int) -> bool:
        """Whether another candidate holds all the query's words, in any place."""
        wanted = set(words_of(query))
        return any(wanted <= self._vocabulary[other] for other in self.candidates if other != page)


def is_listing(text: str) -> bool:
    """Whether a page looks like contents, an index or a table of numbers."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    listed = sum(bool(re.search(r"(\. ?){4}|(\d|\s[ivxl]+)$", line)) for line in lines)
    return bool(lines) and listed >= LISTING_SHARE * len(lines)


def sentences(text: str) -> list[list[str]]:
    """Returns sentences of prose, each as its words with punctuation; code and formulas are left out."""
    found = []
    for sentence in re.split(r"(?<=[.!?])\s+", " ".join(text.split())):
        parts = sentence.split(" ")
        plain = sum(bool(re.fullmatch(r"[A-Za-z][a-z’'-]*[,.:;!?]?", part)) for part in parts)
        if re.fullmatch(r"[A-Z].*[a-z][.!?]", sentence) and len(parts) >= 8 and plain >= 0.85 * len(parts):
            found.append(parts)
    return found


def is_content(word: str) -> bool:
    """Whether a lower-case word can tell what a page is about."""
    return bool(re.fullmatch(r"[a-z]{4,}", word)) and word not in STOP_WORDS
