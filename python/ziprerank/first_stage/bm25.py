"""BM25 over words, by the bm25s library."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from ziprerank.errors import InvalidInput

# PDFium writes this where a line breaks within a word; it cannot tell whether the hyphen belongs to the word
SOFT_BREAK = "\ufffe"

# of scripts that are written without spaces: kana, Chinese, and Thai to Burmese and Khmer
_UNSPACED = re.compile(
    r"([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]+)"
)


def words_of(text: str) -> list[str]:
    """Returns lower-case runs of letters and digits, with ligatures taken apart.

    Of scripts without spaces between words, such as Chinese, it returns all pairs of neighbouring characters.
    """
    plain = unicodedata.normalize("NFKC", text.replace(SOFT_BREAK, ""))
    words: list[str] = []
    for run in re.findall(r"[^\W_]+", plain.lower()):
        if run.isascii():
            words.append(run)
            continue
        for part in filter(None, _UNSPACED.split(run)):
            if _UNSPACED.match(part):
                words += [part[at : at + 2] for at in range(len(part) - 1)] or [part]
            else:
                words.append(part)
    return words


class Index:
    """Okapi BM25 as Lucene computes it over the words of ``documents``.

    The score of a document is the sum over the query's words, repeated ones counted each time, of

        log(1 + (N - n + 0.5) / (n + 0.5)) * f / (f + k1 * (1 - b + b * length / mean length))

    with n of N documents holding the word and f its count in the document.
    """

    def __init__(self, documents: Sequence[Sequence[str]], k1: float = 1.2, b: float = 0.75) -> None:
        """Defaults are Lucene's; 0.9 and 0.4 are the usual ones for passages of MS MARCO.

        Raises:
            InvalidInput: A parameter is out of range.
        """
        if not k1 >= 0 or not 0 <= b <= 1:
            raise InvalidInput(f"k1 is {k1} and b is {b}: use k1 >= 0 and b in 0..1")
        import bm25s  # type: ignore[import-untyped]  # here, since most rankings do without it

        self._count = len(documents)
        self._known = {word for document in documents for word in document}
        self._model = bm25s.BM25(k1=k1, b=b, method="lucene", dtype="float64")
        if self._known:  # the library has no answer for a corpus without words
            self._model.index([list(document) for document in documents], show_progress=False)

    def scores(self, asked: Sequence[str]) -> list[float]:
        """Returns the score of each document, 0 for one that shares no word with the query."""
        asked = [word for word in asked if word in self._known]
        if not asked:  # nor for a query without words
            return [0.0] * self._count
        return [float(score) for score in self._model.get_scores(asked)]
