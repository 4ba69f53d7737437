"""Ranks a framework's documents; all adapters use it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from ziprerank.call import stage_options
from ziprerank.errors import PageError, PageWarning, said_for
from ziprerank.first_stage.stage import FirstStage
from ziprerank.inputs.bad_pages import BadPage, OnBadPage
from ziprerank.integrations.candidates import Shown, open_documents
from ziprerank.integrations.documents import PASSWORD_WAY_HERE, DocumentPage, at_index
from ziprerank.planning import PassOptions, check_options
from ziprerank.ranking import RankedPage, Ranking, summed_up
from ziprerank.reranker import Reranker
from ziprerank.scales import Scale, check_scale
from ziprerank.strategies import StrategyOption
from ziprerank.windows import WindowOption

DONE = "ziprerank"  # key in a document's metadata of what was done for its ranking

_Document = TypeVar("_Document")


@dataclass(frozen=True, slots=True, kw_only=True)
class RankOptions:
    """The options of a ranking that every adapter has.

    Attributes:
        keep_ratio: As for ``Reranker.rank``.
        window: As for ``Reranker.rank``.
        stride: As for ``Reranker.rank``.
        scale: Scores to return; all fall with the rank. ``"probability"`` is the softmax over the pages of the page's
            last pass, ``"sigmoid"`` that of the page's logit alone, and ``"logit"`` the logit.
        password: Opens encrypted PDFs.
        on_bad_page: As for ``Reranker.rank``; what is skipped is not among the results, and a Python warning names it.
        strategy: As for ``Reranker.rank``.
        first_stage: As for ``Reranker.rank``.
        candidates: As for ``Reranker.rank``.
        instruction: As for ``Reranker.rank``.
        budget_ms: As for ``Reranker.rank``.

    Raises:
        InvalidInput: An option with which no document could be ranked, whatever the bundle.
    """

    keep_ratio: float | None = None
    window: WindowOption = "auto"
    stride: int | None = None
    scale: Scale = "probability"
    password: str | None = None
    on_bad_page: OnBadPage = "raise"
    strategy: StrategyOption = "auto"
    first_stage: FirstStage = "auto"
    candidates: int | None = None
    instruction: str | None = None
    budget_ms: float | None = None

    def __post_init__(self) -> None:
        check_scale(self.scale)
        stage = stage_options(self.first_stage, self.candidates)
        passes = PassOptions(self.window, self.stride, self.strategy, stage, None)
        check_options(passes, self.keep_ratio, self.on_bad_page, self.budget_ms)

    def of_call(self) -> dict[str, Any]:
        """Returns those that ``Reranker.rank`` has, by its names for them."""
        return {name: value for name, value in asdict(self).items() if name not in ("scale", "password")}


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """A document of a ranking.

    Attributes:
        index: 0-based position among the given documents.
        score: Score of its page, on the scale of the options.
        page: Number of the page from 1 if the document has several and names none.
        done: What was done for the ranking, by the names that the service's answers have for it: ``first_stage``,
            ``strategy``, ``windows`` (passes in all), ``passes`` (numbers from 1 of those that held the page; empty if
            the first stage left it behind), and ``budget`` where one was given. Adapters hand it on under ``DONE`` in
            the document's metadata.
    """

    index: int
    score: float
    page: int | None
    done: dict[str, Any]


def read_documents(
    documents: Sequence[_Document],
    read: Callable[[int, _Document], DocumentPage],
    on_bad_page: OnBadPage = "raise",
) -> list[DocumentPage | BadPage]:
    """Reads the page of each document.

    Args:
        documents: A framework's documents.
        read: Called with the position of a document and the document; returns its page or raises InvalidInput.
        on_bad_page: With ``"skip"``, a document that shows no valid page becomes a ``BadPage``.

    Returns:
        The page of each document.

    Raises:
        PageError: A document shows no valid page; the error has the document's index.
    """
    pages: list[DocumentPage | BadPage] = []
    for index, document in enumerate(documents):
        try:
            with at_index(index):
                pages.append(read(index, document))
        except PageError as error:
            if on_bad_page == "raise":
                raise
            pages.append(BadPage(error))
    return pages


def warn_of_pages(ranking: Ranking) -> None:
    """Says what pages do not show, and which were skipped, by Python warnings at the caller's caller."""
    for line in summed_up(ranking.warnings):
        warnings.warn(line, PageWarning, stacklevel=4)
    for line in summed_up(ranking.skipped):
        warnings.warn(f"skipped: {said_for(line, PASSWORD_WAY_HERE)}", PageWarning, stacklevel=4)


def rank_documents(
    reranker: Reranker,
    query: str,
    documents: Sequence[DocumentPage | BadPage],
    top_k: int | None = None,
    options: RankOptions | None = None,
    *,
    every_page: bool = False,
) -> list[RankedDocument]:
    """Ranks documents by their pages. Documents that show the same page share its score and keep their order.

    Warnings about pages, and what was skipped, are Python warnings (``PageWarning``).

    Args:
        reranker: Ranks the pages.
        query: What to look for.
        documents: The page of each document.
        top_k: Most documents to return; None is all.
        options: Options of the ranking; None is the defaults.
        every_page: Whether a document that has several pages and names none is ranked by all of them, each a result.

    Returns:
        The best documents, best first.

    Raises:
        InvalidInput: The query or an option is invalid.
        PageError: A page cannot be opened or decoded; the error has the document's index.
        PoolError: The pages do not fit the engine's memory.
        EngineError: The engine failed.
    """
    options = options or RankOptions()
    if not documents:
        return []
    rules, limits = reranker.bundle.image, reranker.page_limits
    if reranker.bundle.prompt.text is None:
        documents = [_without_texts(document, options.on_bad_page) for document in documents]
    with open_documents(
        documents, rules, options.password, options.on_bad_page, limits=limits, every_page=every_page
    ) as candidates:
        try:
            ranking = reranker.rank(query, candidates.pages, top_k, **options.of_call())
        except PageError as error:
            if error.index is None:
                raise
            raise error.at(next(one.document for one in candidates.shown if one.candidate == error.index)) from error
    warn_of_pages(ranking)
    showing: dict[int, list[Shown]] = {}
    for one in candidates.shown:
        showing.setdefault(one.candidate, []).append(one)
    results = [
        RankedDocument(one.document, page.on_scale(options.scale), one.page, _done(ranking, page))
        for page in ranking
        for one in showing[page.index]
    ]
    return results[:top_k]


def _done(ranking: Ranking, page: RankedPage) -> dict[str, Any]:
    """Returns ``RankedDocument.done``, as plain data of its own."""
    return {
        "first_stage": ranking.first_stage,
        "strategy": ranking.strategy,
        "windows": ranking.windows,
        "passes": list(page.passes),
        **({} if ranking.budget is None else {"budget": ranking.budget.to_dict()}),
    }


def _without_texts(document: DocumentPage | BadPage, on_bad_page: OnBadPage) -> DocumentPage | BadPage:
    """Returns the document for a bundle that reads pages only. Raises PageError where a text cannot be left out."""
    if isinstance(document, BadPage) or document.text is None:
        return document
    if document.refusal is None:
        return replace(document, text=None)
    if on_bad_page == "raise":
        raise document.refusal
    return BadPage(document.refusal)
