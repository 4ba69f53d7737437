"""The first stage: which pages the model reads, and in which order the others follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from ziprerank.errors import InvalidInput, quoted
from ziprerank.first_stage.bm25 import words_of
from ziprerank.first_stage.texts import PageTexts, TextStore
from ziprerank.inputs.page_source import PageSource
from ziprerank.values import whole_number

FirstStage: TypeAlias = Literal["auto", "text", "relevance", "none"]
FIRST_STAGES: tuple[FirstStage, ...] = get_args(FirstStage)
StageDone: TypeAlias = Literal["text", "relevance", "text+relevance", "none"]
Relate: TypeAlias = Callable[[Sequence[str], Sequence[int]], Sequence[Sequence[float]]]
"""Says how well each page matches each query, by late interaction: ``Relevance.scores``."""
CANDIDATES = 20
FIRST_STAGE = (
    "What picks the pages that the model reads: text is BM25 over the text layer of PDFs, relevance compares the "
    "query's tokens with the visual tokens of every page, and none reads all. auto, where there are more pages than a "
    "pass takes, is text if nine tenths of them have text, else relevance if the bundle says that it ranks, else none. "
    "Where no page has a word of the query, relevance picks in place of text in such a bundle, else none is left out."
)
CANDIDATES_HELP = "Pages that the first stage leaves for the model."
_MOST_WITHOUT = 0.1  # share of pages without text up to which auto goes by text


def unseen(queries: Sequence[str], pages: Sequence[int]) -> list[list[float]]:
    """Stands in for ``Relevance.scores`` where only the number of pages that are left matters: all are alike."""
    return [[0.0] * len(pages) for _ in queries]


def check_first_stage(stage: str) -> FirstStage:
    """Returns ``stage`` if it is one of ``FirstStage``. Raises InvalidInput."""
    for known in FIRST_STAGES:
        if stage == known:
            return known
    raise InvalidInput(f"first_stage {quoted(stage)}: must be 'auto', 'text', 'relevance' or 'none'")


@dataclass(frozen=True, slots=True)
class StageOptions:
    """How pages are picked.

    Attributes:
        first_stage: ``"text"``, ``"relevance"``, ``"none"`` or ``"auto"``.
        candidates: Pages that are left for the model, at least 1.

    Raises:
        InvalidInput: A value that is none of these.
    """

    first_stage: FirstStage = "auto"
    candidates: int = CANDIDATES

    def __post_init__(self) -> None:
        check_first_stage(self.first_stage)
        number = whole_number(self.candidates)
        if number is None or number < 1:
            raise InvalidInput(f"candidates {quoted(self.candidates)}: must be a whole number of at least 1")
        object.__setattr__(self, "candidates", number)

    def may_pick(self, pages: int, width: int) -> bool:
        """Whether ``pages`` are more than are left for the model, of which a pass takes ``width``."""
        most = max(self.candidates, width) if self.first_stage == "auto" else self.candidates
        return self.first_stage != "none" and pages > most


@dataclass(frozen=True, slots=True)
class Choice:
    """What the first stage says for one query.

    Attributes:
        chosen: Indices of the candidates that the model reads, the best first where there was a first stage.
        rest: Indices of the others, the best first.
        stage: What picked them.
        related: Indices of those that relevance looked at, which encodes them.
    """

    chosen: tuple[int, ...]
    rest: tuple[int, ...] = ()
    stage: StageDone = "none"
    related: tuple[int, ...] = ()


def choose(
    store: TextStore,
    queries: Sequence[str],
    sources: Sequence[PageSource],
    good: Sequence[int],
    options: StageOptions,
    width: int,
    owner: str = "",
    waiting: Callable[[], None] = lambda: None,
    relate: Relate | None = None,
    *,
    ranks: bool = False,
) -> list[Choice]:
    """Picks the pages that the model reads, for each query.

    A page without text that could stand for it is never left out by text: such pages take up to half of the places. If
    they are more, relevance picks as many among them where it ranks, but at least one; else all of them are read,
    beside as many of the others as half of the places, or one. For a query that shares no word with any page relevance
    picks among all pages where it ranks; else none is left out.

    Args:
        store: Reads and keeps the texts.
        queries: What is looked for; none has the texts read that would be, and nothing else.
        sources: All candidates.
        good: Indices of those that are ranked.
        options: How pages are picked.
        width: Pages that a pass takes.
        owner: Whose texts these are.
        waiting: Called while texts are read; may raise to end that.
        relate: The stage by relevance; not None where ``options`` ask for it or it ``ranks``.
        ranks: Whether relevance may leave pages out that nobody asked it to.
    """
    every = [Choice(tuple(good))] * len(queries)
    if not options.may_pick(len(good), width):
        return every
    if options.first_stage == "relevance":
        return _by_relevance(relate, queries, good, options.candidates)
    texts = _texts(store, sources, good, options, owner, waiting)
    if texts is None:
        return _by_relevance(relate, queries, good, options.candidates) if ranks else every
    found = {index: text for index, text in texts.items() if text is not None}
    worded = [index for index in good if index in found]
    wordless = [index for index in good if index not in found]
    least = min((options.candidates + 1) // 2, len(worded))
    places = max(options.candidates - least, 1)  # of pages without text, where relevance picks them
    crowded = ranks and len(wordless) > places
    room = max(options.candidates - len(wordless), least)
    if len(worded) <= room and not crowded:
        return every
    index = store.index([found[one] for one in worded])
    chosen: dict[str, Choice] = {}
    for query in queries:
        scores = index.scores(words_of(query))
        if max(scores, default=0.0) > 0:
            chosen[query] = _by_words(scores, worded, wordless, room)
    if crowded:
        seen = _by_relevance(relate, list(chosen), wordless, places)
        chosen = {query: _joined(one, other, room) for (query, one), other in zip(chosen.items(), seen, strict=True)}
    if ranks:
        others = [query for query in dict.fromkeys(queries) if query not in chosen]
        chosen |= zip(others, _by_relevance(relate, others, good, options.candidates), strict=True)
    return [chosen.get(query, every[0]) for query in queries]


def first_words(
    store: TextStore,
    sources: Sequence[PageSource],
    good: Sequence[int],
    options: StageOptions,
    width: int,
    owner: str = "",
    waiting: Callable[[], None] = lambda: None,
) -> str:
    """Returns the text of the first page with words, which a query would find; "" where ``choose`` goes by no text.

    Arguments are those of ``choose``.
    """
    if options.first_stage == "relevance" or not options.may_pick(len(good), width):
        return ""
    texts = _texts(store, sources, good, options, owner, waiting) or {}
    found = (text[1] for index in good if (text := texts.get(index)) is not None)
    return next(filter(words_of, found), "")


def _texts(
    store: TextStore,
    sources: Sequence[PageSource],
    good: Sequence[int],
    options: StageOptions,
    owner: str,
    waiting: Callable[[], None],
) -> PageTexts | None:
    """Returns the texts of all pages; None if too many have none to go by text."""
    most_without = int(_MOST_WITHOUT * len(good)) if options.first_stage == "auto" else None
    return store.texts(sources, good, owner, most_without, waiting)


def _by_words(scores: Sequence[float], worded: Sequence[int], wordless: Sequence[int], room: int) -> Choice:
    """Returns the ``room`` best of the pages with words, and all without."""
    order = [worded[at] for at in sorted(range(len(worded)), key=lambda at: -scores[at])]
    return Choice((*order[:room], *wordless), tuple(order[room:]), "text")


def _by_relevance(relate: Relate | None, queries: Sequence[str], pages: Sequence[int], room: int) -> list[Choice]:
    """Returns the ``room`` best of ``pages`` for each query; on a tie the lower index wins."""
    if not queries:
        return []
    assert relate is not None
    choices = []
    for scores in relate(queries, pages):
        order = [pages[at] for at in sorted(range(len(pages)), key=lambda at: -scores[at])]
        choices.append(Choice(tuple(order[:room]), tuple(order[room:]), "relevance", tuple(pages)))
    return choices


def _joined(by_words: Choice, by_relevance: Choice, room: int) -> Choice:
    """Returns a choice whose first ``room`` pages are those by words, and the others those by relevance."""
    chosen = (*by_words.chosen[:room], *by_relevance.chosen)
    return Choice(chosen, (*by_words.rest, *by_relevance.rest), "text+relevance", by_relevance.related)
