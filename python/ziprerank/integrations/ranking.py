"""Ranks a framework's documents; all adapters use it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

from ziprerank.errors import InvalidInput, PageError
from ziprerank.integrations.documents import DocumentPage, open_documents
from ziprerank.reranker import Reranker
from ziprerank.windows import WindowOption

Scale: TypeAlias = Literal["probability", "logit"]
_Document = TypeVar("_Document")


@dataclass(frozen=True, slots=True)
class RankOptions:
    """The options of a ranking that every adapter has.

    Attributes:
        keep_ratio: As for ``Reranker.rank``.
        window: As for ``Reranker.rank``.
        stride: As for ``Reranker.rank``.
        scale: Scores to return. ``"probability"`` is the softmax over the page's window (the HTTP API's
            relevance_score); ``"logit"`` is the raw score. With several windows, scores need not fall with the rank: go
            by the order.
        password: Opens encrypted PDFs.
    """

    keep_ratio: float | None = None
    window: WindowOption = "auto"
    stride: int | None = None
    scale: Scale = "probability"
    password: str | None = None

    def __post_init__(self) -> None:
        if self.scale not in ("probability", "logit"):
            raise InvalidInput(f"scale {self.scale!r}: must be 'probability' or 'logit'")


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """A document of a ranking.

    Attributes:
        index: 0-based position among the given documents.
        score: Score of its page, on the scale of the options.
    """

    index: int
    score: float


@dataclass(frozen=True, slots=True)
class RankedDocuments:
    """A ranking of documents.

    Attributes:
        results: The documents, best first.
        windows: Number of windows; with more than one, scores need not fall with the rank.
    """

    results: tuple[RankedDocument, ...]
    windows: int


def read_documents(
    documents: Sequence[_Document], read: Callable[[int, _Document], DocumentPage]
) -> list[DocumentPage]:
    """Reads the page of each document.

    Args:
        documents: A framework's documents.
        read: Called with the position of a document and the document; returns its page or raises InvalidInput.

    Returns:
        The page of each document.

    Raises:
        PageError: A document shows no valid page; the error has the document's index.
    """
    pages = []
    for index, document in enumerate(documents):
        try:
            pages.append(read(index, document))
        except PageError as error:
            raise error.at(index) from error
        except InvalidInput as error:
            raise PageError(str(error), source="document", index=index) from error
    return pages


def rank_documents(
    reranker: Reranker,
    query: str,
    documents: Sequence[DocumentPage],
    top_k: int | None = None,
    options: RankOptions | None = None,
) -> RankedDocuments:
    """Ranks documents by their pages. Documents that show the same page share its score and keep their order.

    Args:
        reranker: Ranks the pages.
        query: What to look for.
        documents: The page of each document.
        top_k: Most documents to return; None is all.
        options: Options of the ranking; None is the defaults.

    Returns:
        The best documents.

    Raises:
        InvalidInput: The query or an option is invalid.
        PageError: A page cannot be opened or decoded; the error has the document's index.
        PoolError: The pages do not fit the engine's memory.
        EngineError: The engine failed.
    """
    options = options or RankOptions()
    if not documents:
        return RankedDocuments((), 0)
    with open_documents(documents, reranker.bundle.image, options.password, reranker.page_limits) as candidates:
        try:
            ranking = reranker.rank(
                query,
                candidates.pages,
                top_k,
                keep_ratio=options.keep_ratio,
                window=options.window,
                stride=options.stride,
            )
        except PageError as error:
            raise (error if error.index is None else error.at(candidates.shown.index(error.index))) from error
    showing: dict[int, list[int]] = {}
    for index, page in enumerate(candidates.shown):
        showing.setdefault(page, []).append(index)
    results = [
        RankedDocument(index, page.probability if options.scale == "probability" else page.score)
        for page in ranking
        for index in showing[page.index]
    ]
    return RankedDocuments(tuple(results[:top_k]), ranking.windows)
