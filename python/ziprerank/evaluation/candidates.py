"""What is ranked for each query: the candidates of a first stage, and why some cannot be ranked."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ziprerank.errors import InvalidInput
from ziprerank.evaluation.data import Data, Query, is_text
from ziprerank.evaluation.runs import read_run, sorted_pages
from ziprerank.first_stage.bm25 import Index, words_of

DEPTH = 20  # candidates of a first stage, as in the paper
BM25, NONE = "bm25", "none"


@dataclass(frozen=True, slots=True)
class Task:
    """A query with the pages to rank.

    Attributes:
        query: The query.
        pages: Ids of the candidates, best first by the first stage.
        fault: Why they cannot be ranked; None if they can.
    """

    query: Query
    pages: tuple[str, ...]
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class FirstStage:
    """Where candidates come from.

    Attributes:
        source: A run file, ``"bm25"``, or ``"none"`` for the data's own candidates.
        depth: The most candidates of a query; None is 20 for a run or BM25, and all of the data's own.
    """

    source: str = NONE
    depth: int | None = None

    def __post_init__(self) -> None:
        if self.depth is not None and self.depth < 1:
            raise InvalidInput(f"depth {self.depth}: must be at least 1")

    def name(self, data: Data) -> str:
        """Returns the name of the first stage as a system."""
        if self.source == NONE:
            return data.given_name
        return "bm25 first stage" if self.source == BM25 else Path(self.source).name

    def most(self, data: Data) -> int | None:
        """Returns the most candidates of a query, None for all."""
        own = self.source == NONE and data.given_name != "run.trec"
        return self.depth if self.depth is not None or own else DEPTH


def sampled(queries: Sequence[Query], limit: int | None, seed: int) -> list[Query]:
    """Returns ``limit`` queries drawn at random, in their order; all for None. Raises InvalidInput for under 1."""
    if limit is None or limit >= len(queries):
        return list(queries)
    if limit < 1:
        raise InvalidInput(f"limit {limit}: must be at least 1")
    return [queries[at] for at in sorted(random.Random(seed).sample(range(len(queries)), limit))]


def tasks(data: Data, queries: Sequence[Query], first_stage: FirstStage) -> list[Task]:
    """Chooses the candidates of each query.

    Raises:
        InvalidInput: The run cannot be read, the data has no text for BM25, or it names no candidates.
    """
    if first_stage.source == NONE:
        without = next((query for query in queries if query.given is None and query.document is None), None)
        if without is not None:
            raise InvalidInput(
                f"{data.path} names no candidates for query {without.id!r}, only a corpus of "
                f"{len(data.pool(None)):,} pages: give --first-stage RUN or bm25"
            )
        found = _own(data, queries)
    elif first_stage.source == BM25:
        found = _by_bm25(data, queries)
    else:
        found = _by_run(Path(first_stage.source), queries)
    most = first_stage.most(data)
    known = {name: frozenset(data.pool(name)) for name in {query.document for query in queries}}
    return [_task(query, tuple(pages[:most]), known[query.document]) for query, pages in found]


def _task(query: Query, pages: tuple[str, ...], known: frozenset[str]) -> Task:
    fault = query.fault
    twice = next((page for at, page in enumerate(pages) if page in pages[:at]), None)
    unknown = next((page for page in pages if page not in known), None)
    if fault is None and not query.text.strip():
        fault = "the query is empty"
    elif fault is None and not is_text(query.text):
        fault = "the query holds half a surrogate pair, which is no text"
    elif fault is None and not pages:
        fault = "the first stage has no candidates for it"
    elif fault is None and twice is not None:
        fault = f"the first stage has the candidate {twice} twice"
    elif fault is None and unknown is not None:
        fault = f"the candidate {unknown} is not among the pages of {query.document or 'the data'}"
    return Task(query, pages, fault)


def _own(data: Data, queries: Sequence[Query]) -> Iterator[tuple[Query, Sequence[str]]]:
    for query in queries:
        yield query, data.pool(query.document) if query.given is None else query.given


def _by_bm25(data: Data, queries: Sequence[Query]) -> Iterator[tuple[Query, Sequence[str]]]:
    """Ranks all pages of each query's document, or of the corpus; equal scores keep the data's order."""
    documents = dict.fromkeys(query.document for query in queries)
    texts = data.texts([page for document in documents for page in data.pool(document)])
    index: Index | None = None
    last: str | None = None
    for query in queries:
        pages = data.pool(query.document)
        if index is None or query.document != last:
            index, last = Index([words_of(texts[page]) for page in pages]), query.document
        scores = index.scores(words_of(query.text))
        best = sorted(range(len(pages)), key=lambda at: -scores[at])
        yield query, [pages[at] for at in best]


def _by_run(file: Path, queries: Sequence[Query]) -> Iterator[tuple[Query, Sequence[str]]]:
    wanted = {query.id for query in queries}
    run = {name: sorted_pages(scored) for name, scored in read_run(file) if name in wanted}
    if not run:
        raise InvalidInput(f"{file} has none of the queries, such as {queries[0].id!r}: its ids must be the data's")
    return ((query, run.get(query.id, [])) for query in queries)
