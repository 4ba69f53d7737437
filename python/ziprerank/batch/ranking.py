"""Ranks one group of rows on one engine; every input row gets an output row, with a ranking or an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from ziprerank.batch import ROW_TIMEOUT
from ziprerank.batch.rows import Document, Group, Row, Text, printable
from ziprerank.bundle import Bundle, Defaults
from ziprerank.call import stage_options
from ziprerank.errors import InvalidInput, PageError, PoolError, said_for
from ziprerank.first_stage.stage import FirstStage
from ziprerank.inputs.bad_pages import OnBadPage
from ziprerank.inputs.page_source import PageSource
from ziprerank.inputs.pages import Page, PageInput, open_pages, with_pdf_options
from ziprerank.planning import PassOptions, check_options, check_relates
from ziprerank.profiling.meter import StepCount
from ziprerank.prompt import PromptBuilder
from ziprerank.ranking import BudgetChoice, PageNote, Ranking
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineOptions
from ziprerank.strategies import StrategyOption
from ziprerank.values import real_number
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
        strategy: As for ``Reranker.rank``.
        first_stage: As for ``Reranker.rank``.
        candidates: As for ``Reranker.rank``.
        password: Opens encrypted PDFs.
        on_bad_page: As for ``Reranker.rank``.
        row_timeout: Most seconds for a row, from opening its documents on, over 0; None is no limit. It is looked at
            after each document, page and window, and while a page is not ready or a pass runs; ``workers.Worker`` ends
            a process that does not come to that.
        instruction: As for ``Reranker.rank``.
        budget_ms: As for ``Reranker.rank``, of each row.

    Raises:
        InvalidInput: An option with which no row could be ranked. ``check`` looks at those that depend on the bundle.
    """

    engine: EngineOptions = field(default_factory=EngineOptions)
    top_k: int | None = None
    keep_ratio: float | None = None
    window: WindowOption = "auto"
    stride: int | None = None
    strategy: StrategyOption = "auto"
    first_stage: FirstStage = "auto"
    candidates: int | None = None
    password: str | None = None
    on_bad_page: OnBadPage = "raise"
    row_timeout: float | None = ROW_TIMEOUT
    instruction: str | None = None
    budget_ms: float | None = None

    def __post_init__(self) -> None:
        self._check_options()
        if self.row_timeout is not None and (real_number(self.row_timeout) or 0) <= 0:
            raise InvalidInput(f"row timeout {self.row_timeout!r}: must be a number of seconds over 0, or None")

    def check(self, bundle: Bundle) -> None:
        """Raises InvalidInput for an option with which this bundle could not rank any row."""
        self._check_options(bundle.defaults)
        if self.instruction:
            PromptBuilder(bundle, self.engine.max_prompt_tokens).check_instruction(self.instruction)

    def load(self) -> Reranker:
        """Loads the engine. Raises as ``check`` and ``Reranker.from_bundle``, and where it lacks the first stage."""
        reranker = Reranker.from_options(self.engine)
        self.check(reranker.bundle)
        stage = stage_options(self.first_stage, self.candidates)
        check_relates(stage, relates=bool(reranker.engine.info.get("relates")))
        return reranker

    def _check_options(self, defaults: Defaults | None = None) -> None:
        stage = stage_options(self.first_stage, self.candidates)
        passes = PassOptions(self.window, self.stride, self.strategy, stage, self.top_k)
        check_options(passes, self.keep_ratio, self.on_bad_page, self.budget_ms, defaults)

    def rank(self, reranker: Reranker, group: Group, alive: Callable[[], None] | None = None) -> Iterator[Done]:
        """Ranks a group and yields its rows in the shape of ``parts.SCHEMA``, each of them once.

        Args:
            reranker: What ``load`` returned.
            group: The rows.
            alive: Called after each document opened, page encoded and window scored.
        """
        faults = {row.id: row.fault or _query_fault(reranker, row.query) for row in group.rows}
        faulty = [done for row in group.rows if (fault := faults[row.id]) for done in error_rows([row], fault)]
        if faulty:
            yield Done(faulty)
        good = [row for row in group.rows if faults[row.id] is None]
        if good:
            yield from self._done(reranker, group, good, alive or (lambda: None))

    def _done(self, reranker: Reranker, group: Group, rows: Sequence[Row], alive: Callable[[], None]) -> Iterator[Done]:
        clock = _Clock(self.row_timeout, alive)
        shared = True  # whether the error is one of all rows
        try:
            yield Done(self._ranked(reranker, group, rows, clock))
            return
        except (PageError, PoolError) as error:
            told = str(error)
        except _TimeUp as error:  # what a first row waits for are the pages, which all rows need
            told, shared = str(error), clock.row == 0
        except InvalidInput as error:  # of one query, which does not fit into the prompt
            told, shared = str(error), len(rows) == 1
        except Exception as error:  # an unforeseen error on one broken file must not end the whole job
            yield Done(error_rows(rows, f"{type(error).__name__}: {error}"), failed=True)
            return
        if shared:
            yield Done(error_rows(rows, told))
            return
        for row in rows:  # each alone, to find out which
            yield from self._done(reranker, group, [row], alive)

    def _ranked(self, reranker: Reranker, group: Group, rows: Sequence[Row], clock: _Clock) -> list[dict[str, Any]]:
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
                clock.check()
            rankings = reranker.rank_many(
                [row.query for row in rows],
                candidates,
                self.top_k,
                keep_ratio=self.keep_ratio,
                window=self.window,
                stride=self.stride,
                strategy=self.strategy,
                first_stage=self.first_stage,
                candidates=self.candidates,
                instruction=self.instruction,
                on_bad_page=self.on_bad_page,
                budget_ms=self.budget_ms,
                progress=lambda done, steps: clock.step(done, steps, len(rows)),
                cancel=clock,
            )
        return [_ranked_row(row, ranking, owners) for row, ranking in zip(rows, rankings, strict=True)]


class _TimeUp(Exception):
    """A row has taken longer than it may."""


class _Clock:
    """Ends a row that takes too long.

    Attributes:
        row: The position of the row that is being ranked.
    """

    def __init__(self, seconds: float | None, alive: Callable[[], None]) -> None:
        self.row = 0
        self._seconds = seconds
        self._alive = alive
        self._begun = monotonic()
        self._passes = self._first = 0  # done, and of these before this ranking began
        self._steps = 0

    def step(self, done: StepCount, steps: StepCount, rows: int) -> None:
        """Notes that ``done`` of ``steps`` steps are done, with as many passes for each row. Raises as ``check``.

        Pages tell no rows apart, since a first stage encodes them for all rows before the first one. A ranking that
        begins again without bad pages says so by other ``steps``: those that are done already and those of all rows.
        """
        if self._steps not in (0, steps):
            self._first, self.row, self._begun = self._passes, 0, monotonic()
        self._steps = steps
        each = (steps.passes - self._first) // rows
        row = (done.passes - self._first) // each
        self._passes = done.passes
        if row == self.row:
            self.check()
        else:  # the end of a row, which is kept even if it took too long
            self.row, self._begun = row, monotonic()
            self._alive()

    def is_set(self) -> bool:
        """For ``cancel``: False, or raises as ``check``."""
        self.check()
        return False

    def check(self) -> None:
        """Raises _TimeUp if the row has had its time."""
        if self._seconds is not None and monotonic() - self._begun > self._seconds:
            raise _TimeUp(time_up(self._seconds))
        self._alive()


def time_up(seconds: float) -> str:
    """Returns the error of a row that took longer than it may."""
    return f"the row was not ranked within {seconds:g} s: give it fewer pages, or more time with --row-timeout"


@dataclass(frozen=True, slots=True)
class Done:
    """Output rows of a group.

    Attributes:
        rows: One per row of the group that is done.
        failed: Whether ranking failed for a reason other than the rows, such as a broken engine.
    """

    rows: list[dict[str, Any]]
    failed: bool = False


def error_rows(rows: Sequence[Row], error: str) -> list[dict[str, Any]]:
    """Returns output rows with an error instead of results."""
    nothing = dict.fromkeys(("pages", "windows", "first_stage", "strategy", "budget", "results", "warnings", "skipped"))
    error = printable(said_for(error, _PASSWORD_WAY))
    return [
        {"id": row.id, "query": row.query, "documents": _labels(row.documents), **nothing}
        | {"error": error, "digest": row.digest}
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
            "sigmoid": page.sigmoid,
            "kept": len(page.kept),
            "tokens": page.tokens,
            "passes": list(page.passes),
        }
        for page in ranking
    ]
    return {"id": row.id, "query": row.query, "documents": _labels(row.documents)} | {
        "pages": ranking.pages,
        "windows": ranking.windows,
        "first_stage": ranking.first_stage,
        "strategy": ranking.strategy,
        "budget": None if ranking.budget is None else _chosen(ranking.budget),
        "results": results,
        "warnings": _notes(ranking.warnings, owners),
        "skipped": _notes(ranking.skipped, owners),
        "error": None,
        "digest": row.digest,
    }


def _chosen(budget: BudgetChoice) -> dict[str, Any]:
    return {name: getattr(budget, name) for name in ("candidates", "keep_ratio", "estimated_ms")}


def _notes(notes: Sequence[PageNote], owners: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {"document": owners[note.index], "page": note.page, "text": printable(said_for(note.text, _PASSWORD_WAY))}
        for note in notes
    ]


def _labels(documents: Sequence[Document]) -> list[str]:
    files = [(document.page or "text") if isinstance(document, Text) else document for document in documents]
    return ["bytes" if isinstance(file, bytes) else file for file in files]


def _page_input(document: Document, pages: str | None, password: str | None) -> PageInput:
    if isinstance(document, Text):
        page = None if document.page is None else _page_input(document.page, pages, password)
        return Page(page, document.text)
    return with_pdf_options(Path(document) if isinstance(document, str) else document, pages, password)


def _query_fault(reranker: Reranker, query: str) -> str | None:
    try:
        reranker.prompts.check_query(query)
    except InvalidInput as error:
        return str(error)
    return None
