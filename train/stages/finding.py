"""Queries drawn from the pages of a store, and the candidates among which the page is to be found."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ziprerank.train.data.page_store import MULTIPLE, StoredPage
from ziprerank.train.teachers import Candidate, Teacher

_EDGE = re.compile(r"^\W+|\W+$")
_CONTENT = re.compile(r"[^\W\d_]{4,}|[^\W_]{5,}")
# frequent English words of four letters and more: as keywords they would find every page
_COMMON_WORDS = """
about after also been before between both cannot case could does each either even every example first following
from give given have here however into itself just like made make many more most much must need only other over
same section should since some such than that their them then there these they this those through thus under used
user uses using value very want well were what when where which while will with within without would your
"""
_COMMON = frozenset(_COMMON_WORDS.split())
_REWORDED = 2 / 3


@dataclass(frozen=True, slots=True)
class View:
    """A part of a page, counted in cells of 32 px.

    Attributes:
        number: the page's, as the caller counts.
        top, left, rows, cols: its cells are ``[top, top + rows) x [left, left + cols)``.
        words: its words, as `plain_word` has them; a word without letters or digits is empty.
    """

    number: int
    top: int
    left: int
    rows: int
    cols: int
    words: list[str]

    @property
    def text(self) -> str:
        """The words in reading order."""
        return " ".join(self.words)


@dataclass(frozen=True, slots=True)
class Finding:
    """A query and its candidates; ``truth`` is the one it was drawn from, ``order`` the teacher's, truth first."""

    query: str
    views: list[View]
    truth: int
    order: tuple[int, ...]


def plain_word(word: str) -> str:
    """A word as queries and labels compare it: lower case, without punctuation at its ends."""
    return _EDGE.sub("", word).lower()


def view_of(page: StoredPage, number: int, rng: np.random.Generator, most_rows: int, most_cols: int) -> View:
    """A random part of the page of at most that many cells; the whole page where it is no larger."""
    height, width = page.pixels.shape[0] // MULTIPLE, page.pixels.shape[1] // MULTIPLE
    rows, cols = min(height, most_rows), min(width, most_cols)
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - cols + 1))
    boxes = page.token_boxes
    middle_x, middle_y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    inside = (
        (middle_x >= left * MULTIPLE)
        & (middle_x < (left + cols) * MULTIPLE)
        & (middle_y >= top * MULTIPLE)
        & (middle_y < (top + rows) * MULTIPLE)
    )
    words = [plain_word(page.words[index]) for index in np.unique(page.token_words[inside])]
    return View(number, top, left, rows, cols, words)


def draw_query(rng: np.random.Generator, words: Sequence[str], others: Sequence[set[str]]) -> str | None:
    """2 to 8 words: half the time a phrase of the page, half the time scattered content words.

    None where the words do not allow it. A query holds at least one content word that few of ``others`` have: without
    one no reader could tell the page.
    """
    telling = [w for w in set(words) if _is_content(w) and sum(w in other for other in others) <= len(others) // 4]
    if len(telling) < 3:
        return None
    if rng.random() < 0.5:
        keywords = sorted(telling)
        count = min(int(rng.integers(2, 7)), len(keywords))
        return " ".join(str(word) for word in rng.choice(keywords, size=count, replace=False))
    wanted = set(telling)
    for _ in range(8):
        length = int(rng.integers(3, 9))
        start = int(rng.integers(max(1, len(words) - length + 1)))
        phrase = [word for word in words[start : start + length] if word]
        if len(phrase) >= 2 and sum(word in wanted for word in phrase) >= 2:
            return " ".join(phrase)
    return None


def find(rng: np.random.Generator, views: Sequence[View], teacher: Teacher, *, tries: int = 12) -> Finding | None:
    """A query about one of the views, which the teacher agrees answers it best; None after ``tries``."""
    sets = [set(view.words) for view in views]
    for _ in range(tries):
        truth = int(rng.integers(len(views)))
        others = [words for index, words in enumerate(sets) if index != truth]
        query = draw_query(rng, views[truth].words, others)
        if query is None:
            continue
        order = teacher.order(query, [Candidate(text=view.text) for view in views])
        if order[0] == truth:
            return Finding(query, list(views), truth, order)
    return None


def reworded(rng: np.random.Generator, query: str, synonyms: Callable[[str], Sequence[str]]) -> str:
    """The query with each content word that has synonyms replaced by one of them in two cases of three.

    The query as it is where no word has any; where chance replaces none, one is.
    """
    words = query.split()
    able = [(place, found) for place, word in enumerate(words) if _is_content(word) and (found := synonyms(word))]
    if not able:
        return query
    surely = int(rng.integers(len(able)))
    for number, (place, found) in enumerate(able):
        if number == surely or rng.random() < _REWORDED:
            words[place] = found[int(rng.integers(len(found)))]
    return " ".join(words)


def _is_content(word: str) -> bool:
    return word not in _COMMON and _CONTENT.fullmatch(word) is not None
