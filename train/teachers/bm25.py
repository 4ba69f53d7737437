"""BM25 over the candidates' text: the teacher that costs nothing and needs no model."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import TrainError
from .base import Candidate, by_score, texts_of

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Lower-case runs of letters, digits and underscores; no stop words, no stemming."""
    return _WORD.findall(text.lower())


class Bm25:
    """Okapi BM25 as Lucene computes it, by the bm25s library; word statistics are those of the candidates.

    The score of a candidate is the sum over the query's words, repeated ones counted each time, of

        log(1 + (N - n + 0.5) / (n + 0.5)) * f / (f + k1 * (1 - b + b * length / mean length))

    with n of N candidates holding the word and f its count in the candidate. Equal scores keep the order given.
    """

    def __init__(self, k1: float = 1.2, b: float = 0.75) -> None:
        """Defaults are Lucene's; 0.9 and 0.4 are the usual ones for passages of MS MARCO.

        Raises:
            TrainError: a parameter is out of range, or bm25s is not installed.
        """
        try:
            import bm25s  # type: ignore[import-untyped]
        except ModuleNotFoundError as error:
            raise TrainError("the BM25 teacher needs bm25s: pip install bm25s") from error
        if not k1 >= 0 or not 0 <= b <= 1:
            raise TrainError(f"k1 is {k1} and b is {b}: use k1 >= 0 and b in 0..1")
        self._model = bm25s.BM25
        self.k1 = k1
        self.b = b

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """The score of each text, 0 for one that shares no word with the query."""
        asked, documents = words(query), [words(text) for text in texts]
        known = {word for document in documents for word in document}
        asked = [word for word in asked if word in known]
        if not asked:  # the library has no answer for a corpus or a query without words
            return [0.0] * len(documents)
        model = self._model(k1=self.k1, b=self.b, method="lucene", dtype="float64")
        model.index(documents, show_progress=False)
        return [float(score) for score in model.get_scores(asked)]

    def order(self, query: str, candidates: Sequence[Candidate]) -> tuple[int, ...]:
        """See `Teacher.order`; each candidate needs a text."""
        return by_score(self.scores(query, texts_of(candidates, "BM25")))
