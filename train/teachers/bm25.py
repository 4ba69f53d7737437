"""BM25 over the candidates' text: the teacher that costs nothing and needs no model."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ziprerank.train.errors import TrainError

from .base import Candidate, by_score, texts_of

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Lower-case runs of letters, digits and underscores; no stop words, no stemming."""
    return _WORD.findall(text.lower())


class Index:
    """Okapi BM25 as Lucene computes it, by the bm25s library, over the words of ``documents``.

    The score of a document is the sum over the query's words, repeated ones counted each time, of

        log(1 + (N - n + 0.5) / (n + 0.5)) * f / (f + k1 * (1 - b + b * length / mean length))

    with n of N documents holding the word and f its count in the document.
    """

    def __init__(self, documents: Sequence[Sequence[str]], k1: float = 1.2, b: float = 0.75) -> None:
        """Defaults are Lucene's; 0.9 and 0.4 are the usual ones for passages of MS MARCO.

        Raises:
            TrainError: a parameter is out of range, or bm25s is not installed.
        """
        if not k1 >= 0 or not 0 <= b <= 1:
            raise TrainError(f"k1 is {k1} and b is {b}: use k1 >= 0 and b in 0..1")
        try:
            import bm25s  # type: ignore[import-untyped]
        except ModuleNotFoundError as error:
            raise TrainError("BM25 needs bm25s: pip install bm25s") from error
        self._count = len(documents)
        self._known = {word for document in documents for word in document}
        self._model = bm25s.BM25(k1=k1, b=b, method="lucene", dtype="float64")
        if self._known:  # the library has no answer for a corpus without words
            self._model.index([list(document) for document in documents], show_progress=False)

    def scores(self, asked: Sequence[str]) -> list[float]:
        """The score of each document, 0 for one that shares no word with the query."""
        asked = [word for word in asked if word in self._known]
        if not asked:  # nor for a query without words
            return [0.0] * self._count
        return [float(score) for score in self._model.get_scores(asked)]


class Bm25:
    """The teacher; word statistics are those of the candidates. Equal scores keep the order given."""

    def __init__(self, k1: float = 1.2, b: float = 0.75) -> None:
        """Raises TrainError, see `Index`."""
        Index([], k1, b)
        self.k1 = k1
        self.b = b

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """The score of each text, 0 for one that shares no word with the query."""
        return Index([words(text) for text in texts], self.k1, self.b).scores(words(query))

    def order(self, query: str, candidates: Sequence[Candidate]) -> tuple[int, ...]:
        """See `Teacher.order`; each candidate needs a text."""
        return by_score(self.scores(query, texts_of(candidates, "BM25")))
