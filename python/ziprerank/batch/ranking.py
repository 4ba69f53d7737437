"""One group of rows on one engine; whatever comes of it, each row has its row."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ziprerank.batch.rows import Document, Group, Row
from ziprerank.errors import InvalidInput, PageError, PoolError
from ziprerank.inputs.pages import PageInput, PageSource, open_pages, with_pdf_options
from ziprerank.ranking import Ranking
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineOptions
from ziprerank.windows import WindowOption


@dataclass(frozen=True, slots=True)
class Ranker:
    """How rows are ranked, and where; ``load`` and ``rank`` run in a worker."""

    engine: EngineOptions = field(default_factory=EngineOptions)
    top_k: int | None = None
    keep_ratio: float | None = None
    window: WindowOption = "auto"
    stride: int | None = None
    password: str | None = None
    """of encrypted PDFs"""

    def load(self) -> Reranker:
        return Reranker.from_options(self.engine)

    def rank(self, reranker: Reranker, group: Group) -> Done:
        """Rows in the shape of ``parts.SCHEMA``, one for each of ``group``."""
        try:
            return Done(self._rows(reranker, group), failed=False)
        except Exception as error:  # a library's own error on a broken file must not end the night's work
            return Done(error_rows(group.rows, f"{type(error).__name__}: {error}"), failed=True)

    def _rows(self, reranker: Reranker, group: Group) -> list[dict[str, Any]]:
        rows, good = [], []
        for row in group.rows:
            fault = row.fault or _query_fault(reranker, row.query)
            if fault is None:
                good.append(row)
            else:
                rows += error_rows([row], fault)
        if not good:
            return rows
        try:
            return rows + self._ranked(reranker, group, good)
        except (PageError, PoolError) as error:
            return rows + error_rows(good, str(error))
        except InvalidInput as error:
            if len(good) == 1:
                return rows + error_rows(good, str(error))
        # one of the queries cannot stand in the prompt: which one is seen when each goes alone
        return rows + [done for row in good for done in self._rows(reranker, Group((row,)))]

    def _ranked(self, reranker: Reranker, group: Group, rows: Sequence[Row]) -> list[dict[str, Any]]:
        candidates: list[PageSource] = []
        owners: list[int] = []  # of each candidate, its document's position
        with ExitStack() as opened:
            for position, document in enumerate(group.documents):
                try:
                    page_input = _page_input(document, group.pages, self.password)
                    pages = opened.enter_context(open_pages(page_input, reranker.bundle.image))
                except PageError as error:
                    raise error.at(len(candidates) + (error.index or 0)) from error
                candidates += pages
                owners += [position] * len(pages)
            rankings = reranker.rank_many(
                [row.query for row in rows],
                candidates,
                self.top_k,
                keep_ratio=self.keep_ratio,
                window=self.window,
                stride=self.stride,
            )
        return [_ranked_row(row, ranking, owners) for row, ranking in zip(rows, rankings, strict=True)]


@dataclass(frozen=True, slots=True)
class Done:
    """A group's rows. ``failed``: by something other than the rows themselves, as an engine that broke does it."""

    rows: list[dict[str, Any]]
    failed: bool


def error_rows(rows: Sequence[Row], error: str) -> list[dict[str, Any]]:
    """Rows that say why they were not ranked."""
    return [
        {"id": row.id, "query": row.query, "documents": _labels(row.documents)}
        | {"pages": None, "windows": None, "results": None, "error": error}
        for row in rows
    ]


def _ranked_row(row: Row, ranking: Ranking, owners: Sequence[int]) -> dict[str, Any]:
    results = [
        {
            "rank": page.rank,
            "document": owners[page.index],
            "page": page.page,
            "score": page.score,
            "probability": page.probability,
            "kept": len(page.kept),
            "tokens": page.tokens,
        }
        for page in ranking
    ]
    return {"id": row.id, "query": row.query, "documents": _labels(row.documents)} | {
        "pages": ranking.pages,
        "windows": ranking.windows,
        "results": results,
        "error": None,
    }


def _labels(documents: Sequence[Document]) -> list[str]:
    return ["bytes" if isinstance(document, bytes) else document for document in documents]


def _page_input(document: Document, pages: str | None, password: str | None) -> PageInput:
    return with_pdf_options(Path(document) if isinstance(document, str) else document, pages, password)


def _query_fault(reranker: Reranker, query: str) -> str | None:
    try:
        reranker.prompts.check_query(query)
    except InvalidInput as error:
        return str(error)
    return None
