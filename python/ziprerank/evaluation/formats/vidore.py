"""ViDoRe's form, and that of mteb's data sets with pictures: Parquet tables ``corpus``, ``queries`` and ``qrels``.

Columns are spelt with underscores (ViDoRe v3) or hyphens (earlier): ``corpus_id``, ``image``, ``markdown`` of the
corpus; ``query_id``, ``query``, ``language`` of the queries; ``query_id``, ``corpus_id``, ``score`` of the qrels.
A table ``top_ranked`` (``query-id``, ``corpus-ids``), as mteb's reranking tasks have it, gives the candidates.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ziprerank.errors import InvalidInput
from ziprerank.evaluation.data import Data, Query, checked_id, unique
from ziprerank.evaluation.formats.tables import Pictures, column, files_of, records, stamp
from ziprerank.inputs.pages import PageInput

FILES = "corpus.parquet, queries.parquet and qrels.parquet, or a folder of Parquet files for each"
CORPUS_ID = ("corpus_id", "corpus-id", "_id", "id")
QUERY_ID = ("query_id", "query-id", "_id", "id")
RANKED = ("corpus_ids", "corpus-ids")


def is_here(path: Path) -> bool:
    """Whether a folder has this form."""
    return all(files_of(path, name) for name in ("corpus", "queries", "qrels"))


def read(path: Path) -> ViDoRe:
    """Reads queries, qrels and the ids of the corpus.

    Raises:
        InvalidInput: A table is missing or damaged.
    """
    tables = {name: files_of(path, name) for name in ("corpus", "queries", "qrels", "top_ranked")}
    for name in ("corpus", "queries", "qrels"):
        if not tables[name]:
            raise InvalidInput(f"{path} has no table {name}: needed are {FILES}")
    ids = str(column(tables["corpus"], CORPUS_ID))
    data = ViDoRe(path, corpus=tables["corpus"], id_column=ids, given_name="top_ranked")
    seen: set[str] = set()
    for where, row in records(tables["corpus"], [ids]):
        page = checked_id(row[ids], where)
        if page in seen:
            raise InvalidInput(f"{where}: the corpus has the id {page!r} twice: give every page its own")
        seen.add(page)
        data.ids.append(page)
    judged = _qrels(tables["qrels"])
    ranked = _ranked(tables["top_ranked"])
    data.queries = unique(list(_queries(tables["queries"], judged, ranked, bool(tables["top_ranked"]))), path)
    known = {query.id for query in data.queries}
    if stray := next((query for query in judged if query not in known), None):
        raise InvalidInput(f"{path}: the qrels judge the query {stray!r}, which is not among the queries")
    return data


@dataclass(slots=True)
class ViDoRe(Data):
    """Attributes: ``corpus`` are the files of the table, ``id_column`` its ids, and ``ids`` all of these."""

    corpus: list[Path] = field(default_factory=list)
    id_column: str = ""
    ids: list[str] = field(default_factory=list)
    _pictures: Pictures | None = None

    @property
    def format(self) -> str:
        return "vidore"

    def pool(self, document: str | None) -> Sequence[str]:  # noqa: ARG002
        return self.ids

    def inputs(self, pages: Sequence[str]) -> list[PageInput]:
        if self._pictures is None:
            raise InvalidInput("the pages are not open: rank them inside of Data.opened")
        return [self._pictures.read(page) for page in pages]

    def texts(self, pages: Collection[str]) -> Mapping[str, str]:
        name = column(self.corpus, ["markdown", "text"], optional=True)
        if name is None:
            raise InvalidInput(f"{self.path}: the corpus has no column markdown or text for BM25: give a run")
        return {page: str(value or "") for page, value in self._rows(pages, name)}

    @contextmanager
    def opened(self, pages: Collection[str], scratch: Path) -> Iterator[None]:
        image = str(column(self.corpus, ["image", "image_binary"]))
        self._pictures = Pictures(scratch, [stamp(self.corpus), sorted(pages)])
        self._pictures.fill(lambda: self._rows(pages, image), self.path)
        try:
            yield
        finally:
            self._pictures = None

    def _rows(self, pages: Collection[str], name: str) -> Iterator[tuple[str, Any]]:
        wanted = set(pages)
        for _, row in records(self.corpus, [self.id_column, name]):
            if str(row[self.id_column]) in wanted:
                yield str(row[self.id_column]), row[name]


def _queries(
    files: Sequence[Path], judged: Mapping[str, dict[str, int]], ranked: Mapping[str, list[str]], has_ranked: bool
) -> Iterator[Query]:
    ids, text = str(column(files, QUERY_ID)), str(column(files, ["query", "text"]))
    language = column(files, ["language"], optional=True)
    for where, row in records(files, [ids, text, *([language] if language else [])]):
        name = checked_id(row[ids], where)
        given = ranked.get(name, []) if has_ranked else None
        group = str(row[language]) if language else ""
        fault = None if isinstance(row[text], str) else f"the query has type {type(row[text]).__name__}, not text"
        yield Query(name, row[text] if fault is None else "", judged.get(name), group, None, given, fault)


def _qrels(files: Sequence[Path]) -> dict[str, dict[str, int]]:
    query, page = str(column(files, QUERY_ID[:2])), str(column(files, CORPUS_ID[:2]))
    score = str(column(files, ["score", "relevance"]))
    judged: dict[str, dict[str, int]] = {}
    for where, row in records(files, [query, page, score]):
        name, other = checked_id(row[query], where), checked_id(row[page], where)
        grade = row[score]
        if not isinstance(grade, (int, float)) or int(grade) != grade:
            raise InvalidInput(f"{where}: the grade {grade!r} must be a whole number")
        judged.setdefault(name, {})[other] = int(grade)
    return judged


def _ranked(files: Sequence[Path]) -> dict[str, list[str]]:
    if not files:
        return {}
    query, pages = str(column(files, QUERY_ID[:2])), str(column(files, RANKED))
    return {
        checked_id(row[query], where): [checked_id(page, where) for page in row[pages]]
        for where, row in records(files, [query, pages])
    }
