"""Okapi BM25 over the true text of a document's pages: what reading every word perfectly is worth, without a model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

K1, B = 1.2, 0.75  # the usual ones, of Robertson and Zaragoza, The Probabilistic Relevance Framework (2009)


class BM25:
    """Scores pages by word counts. ``pages``: the words of every page, from which word frequencies are taken.

    score = sum over query words w of idf(w) * f (k1 + 1) / (f + k1 (1 - b + b length / mean length)), where f counts
    w on the page and idf(w) = ln(1 + (N - n + 0.5) / (n + 0.5)), never negative, for n of N pages that hold w. A word
    that the query says twice counts twice. No stemming and no stop words.
    """

    def __init__(self, pages: Sequence[Sequence[str]]) -> None:
        self._counts = [Counter(words) for words in pages]
        self._lengths = [len(words) for words in pages]
        self._mean = max(1.0, sum(self._lengths) / len(pages))
        self._holding = Counter(word for counts in self._counts for word in counts)

    def score(self, query: Sequence[str], page: int) -> float:
        counts = self._counts[page]
        damping = K1 * (1 - B + B * self._lengths[page] / self._mean)
        return sum(self._idf(word) * counts[word] * (K1 + 1) / (counts[word] + damping) for word in query)

    def order(self, query: Sequence[str], candidates: Sequence[int]) -> list[int]:
        """Candidates by falling score; equal ones keep their order, which is random in the query set."""
        return sorted(candidates, key=lambda page: -self.score(query, page))

    def _idf(self, word: str) -> float:
        holding = self._holding[word]
        return math.log(1 + (len(self._counts) - holding + 0.5) / (holding + 0.5))
