"""Ranks one group of rows on one engine; every input row gets an output row, with a ranking or an error."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ziprerank.batch.rows import Document, Group, Row
from ziprerank.errors import InvalidInput, PageError, PoolError, said_for
from ziprerank.inputs.bad_pages import OnBadPage
from ziprerank.inputs.pages import PageInput, PageSource, open_pages, with_pdf_options
from ziprerank.ranking import PageNote, Ranking
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineOptions
from ziprerank.windows import WindowOption

_PASSWORD_WAY = "with --password, or Ranker(password=...)"


@dataclass(frozen=True, slots=True)
class Ranker:
    """The options with which a worker loads its engine and ranks rows.

    Attributes:
        engine: The engine to load.
        top_k: Most pages in a row's results; None is all.
        keep_ratio: As for ``Reranker.rank``.
        window: As for ``Reranker.rank``.
        stride: As for ``Reranker.rank``.
        password: Opens encrypted PDFs.
        on_bad_page: As for ``Reranker.rank``.
    """

    engine: EngineOptions = field(default_factory=EngineOptions)
    top_k: int | None = None
    keep_ratio: float | None = None
    window: WindowOption = "auto"
    stride: int | None = None
    password: str | None = None
    on_bad_page: OnBadPage = "raise"

    def load(self) -> Reranker:
        """Loads the engine. Raises as ``Reranker.from_bundle``."""
        return Reranker.from_options(self.engine)

    def rank(self, reranker: Reranker, group: Group) -> Done:
        """Ranks a group and returns its rows in the shape of ``parts.SCHEMA``, one per row of the group."""
        try:
            return Done(self._rows(reranker, group), failed=False)
        except Exception as error:  # an unforeseen error on one broken file must not end the whole job
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
        # the prompt cannot hold one of the queries: rank each alone to find out which
        return rows + [done for row in good for done in self._rows(reranker, Group((row,)))]

    def _ranked(self, reranker: Reranker, group: Group, rows: Sequence[Row]) -> list[dict[str, Any]]:
        candidates: list[PageSource] = []
        owners: list[int] = []  # position of each candidate's document
        with ExitStack() as opened:
            for position, document in enumerate(group.documents):
                try:
                    page_input = _page_input(document, group.pages, self.password)
                    rules, limits = reranker.bundle.image, reranker.page_limits
                    pages = opened.enter_context(open_pages(page_input, rules, self.on_bad_page, limits=limits))
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
                on_bad_page=self.on_bad_page,
            )
        return [_ranked_row(row, ranking, owners) for row, ranking in zip(rows, rankings, strict=True)]


@dataclass(frozen=True, slots=True)
class Done:
    """The output rows of a group.

    Attributes:
        rows: One per row of the group.
        failed: Whether ranking failed for a reason other than the rows, such as a broken engine.
    """

    rows: list[dict[str, Any]]
    failed: bool


def error_rows(rows: Sequence[Row], error: str) -> list[dict[str, Any]]:
    """Returns output rows with an error instead of results."""
    nothing = dict.fromkeys(("pages", "windows", "results", "warnings", "skipped"))
    error = said_for(error, _PASSWORD_WAY)
    return [
        {"id": row.id, "query": row.query, "documents": _labels(row.documents), **nothing, "error": error}
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
        "warnings": _notes(ranking.warnings, owners),
        "skipped": _notes(ranking.skipped, owners),
        "error": None,
    }


def _notes(notes: Sequence[PageNote], owners: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {"document": owners[note.index], "page": note.page, "text": said_for(note.text, _PASSWORD_WAY)}
        for note in notes
    ]


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
