"""BM25 over the candidates' text: the teacher that costs nothing and needs no model."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ziprerank.errors import ZipRerankError
from ziprerank.first_stage.bm25 import Index
from ziprerank.train.errors import TrainError

from .base import Candidate, by_score, texts_of

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Lower-case runs of letters, digits and underscores; no stop words, no stemming."""
    return _WORD.findall(text.lower())


class Bm25:
    """The teacher; word statistics are those of the candidates. Equal scores keep the order given."""

    def __init__(self, k1: float = 1.2, b: float = 0.75) -> None:
        """Raises TrainError if a parameter is out of range, or bm25s is not installed."""
        try:
            Index([], k1, b)
        except ZipRerankError as error:
            raise TrainError(str(error)) from error
        self.k1 = k1
        self.b = b

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """The score of each text, 0 for one that shares no word with the query."""
        return Index([words(text) for text in texts], self.k1, self.b).scores(words(query))

    def order(self, query: str, candidates: Sequence[Candidate]) -> tuple[int, ...]:
        """See `Teacher.order`; each candidate needs a text."""
        return by_score(self.scores(query, texts_of(candidates, "BM25")))
