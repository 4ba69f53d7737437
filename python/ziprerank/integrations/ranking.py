"""What all adapters do with a query and documents."""

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
    """What every adapter lets its user choose about a ranking.

    Attributes:
        keep_ratio: As for ``Reranker.rank``.
        window: As for ``Reranker.rank``.
        stride: As for ``Reranker.rank``.
        scale: What a document's score is. ``"probability"`` is the softmax over the page's window (what the HTTP API
            calls relevance_score); ``"logit"`` is the raw score. With several windows neither falls with the rank: the
            order is what counts.
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
    index: int  # 0-based position among the documents
    score: float


@dataclass(frozen=True, slots=True)
class RankedDocuments:
    """Best first. ``windows`` over 1: the scores do not fall with the rank."""

    results: tuple[RankedDocument, ...]
    windows: int


def read_documents(
    documents: Sequence[_Document], read: Callable[[int, _Document], DocumentPage]
) -> list[DocumentPage]:
    """``read(index, document)`` on each; its errors get the index. Raises PageError."""
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
    """Documents by their pages' rank; those of one page share its score and keep their order. At most ``top_k``.

    Raises InvalidInput, PageError (with the document's index), PoolError or EngineError.
    """
    options = options or RankOptions()
    if not documents:
        return RankedDocuments((), 0)
    with open_documents(documents, reranker.bundle.image, options.password) as candidates:
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
