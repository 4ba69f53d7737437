"""A ranker for AnswerDotAI's ``rerankers`` (extra ``rerankers``).

>>> from ziprerank.integrations.rerankers import ZipRerankRanker
>>> ZipRerankRanker().rank("revenue by region", ["page1.png", "page2.png"]).top_k(1)

Importing this module also registers the ranker for ``rerankers.Reranker("ziprerank", model_type="ZipRerankRanker")``.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ziprerank.integrations import missing_extra

try:
    from rerankers.documents import Document
    from rerankers.models import AVAILABLE_RANKERS
    from rerankers.models.ranker import BaseRanker
    from rerankers.results import RankedResults, Result
except ImportError as error:
    raise missing_extra("rerankers", error) from error

from ziprerank.errors import InvalidInput, quoted
from ziprerank.first_stage.stage import FirstStage
from ziprerank.inputs.bad_pages import OnBadPage
from ziprerank.integrations.documents import DocumentPage, MetadataRules, encoded_page, page_in_text, text_alone
from ziprerank.integrations.engine import LazyReranker
from ziprerank.integrations.ranking import DONE, RankedDocument, RankOptions, rank_documents, read_documents
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineOptions
from ziprerank.scales import Scale
from ziprerank.strategies import StrategyOption
from ziprerank.windows import WindowOption

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ziprerank.integrations.langchain import ZipRerankCompressor
    from ziprerank.runtime.engine import EngineKeywords

IN_THE_BOX = "ziprerank"  # the name of the bundle in the package
_RULES = MetadataRules(path_key="file_path", page_key="page_number")
_WAYS = (
    "give a Document with document_type='image' and base64 or image_path (for a PDF also metadata['page_number']), or "
    "a string that is a file's path, its base64 or a data URL"
)


class ZipRerankRanker(BaseRanker):  # type: ignore[misc]  # rerankers ships no types
    """Ranks page images. Results keep the ids and metadata of their documents.

    In ``metadata["ziprerank"]`` they say what was done: first stage, strategy, passes, and what a budget chose.

    A document that shows no page is ranked by its text, if the bundle's prompt has a place for texts, and raises a
    ValueError otherwise; so is a string that is neither a page's base64 nor the path of a file. With such a bundle the
    ``text`` of a document that shows a page is read behind it.
    """

    def __init__(
        self,
        model_name_or_path: str = IN_THE_BOX,
        verbose: int = 1,
        *,
        keep_ratio: float | None = None,
        window: WindowOption = "auto",
        stride: int | None = None,
        instruction: str | None = None,
        scale: Scale = "probability",
        password: str | None = None,
        on_bad_page: OnBadPage = "raise",
        strategy: StrategyOption = "auto",
        first_stage: FirstStage = "auto",
        candidates: int | None = None,
        budget_ms: float | None = None,
        reranker: Reranker | LazyReranker | None = None,
        **engine: Unpack[EngineKeywords],
    ) -> None:
        """Keeps the options; the engine loads at the first ranking.

        Args:
            model_name_or_path: The bundle's folder, or ``"ziprerank"`` for the bundle inside the package.
            verbose: Part of the interface of ``rerankers``; nothing is printed.
            keep_ratio: As for ``Reranker.rank``.
            window: As for ``Reranker.rank``.
            stride: As for ``Reranker.rank``.
            instruction: As for ``Reranker.rank``.
            scale: Scores to return: ``"probability"`` within the page's last pass, ``"sigmoid"`` or ``"logit"``.
            password: Opens encrypted PDFs.
            on_bad_page: As for ``Reranker.rank``; a Python warning (``PageWarning``) names what is skipped.
            strategy: As for ``Reranker.rank``.
            first_stage: As for ``Reranker.rank``.
            candidates: As for ``Reranker.rank``.
            budget_ms: As for ``Reranker.rank``.
            reranker: A loaded reranker, which may be shared.
            **engine: Any other field of ``EngineOptions``.

        Raises:
            InvalidInput: An option is invalid, or engine options are given with a reranker.
        """
        bundle = None if model_name_or_path == IN_THE_BOX else model_name_or_path
        self.verbose = verbose
        self.options = RankOptions(
            keep_ratio=keep_ratio,
            window=window,
            stride=stride,
            scale=scale,
            password=password,
            on_bad_page=on_bad_page,
            strategy=strategy,
            first_stage=first_stage,
            candidates=candidates,
            instruction=instruction,
            budget_ms=budget_ms,
        )
        self.reranker = LazyReranker.of(reranker, EngineOptions(bundle=bundle, **engine))

    def rank(
        self,
        query: str,
        docs: str | Document | Sequence[str | Document],
        doc_ids: Sequence[str] | Sequence[int] | None = None,
        metadata: Sequence[dict[str, Any]] | None = None,
    ) -> RankedResults:
        """Ranks documents.

        Args:
            query: What to look for.
            docs: One document or several.
            doc_ids: An id per document; None keeps a document's own id, or uses its position.
            metadata: Metadata per document; None keeps a document's own.

        Returns:
            All documents, best first; ``rank`` counts from 1. A PDF or a TIFF without a page has a result for each of
            its pages, with the number from 1 in ``metadata["page_number"]``.

        Raises:
            InvalidInput: The query, an option or a document is invalid (a ValueError).
            PoolError: The pages do not fit the engine's memory.
            EngineError: The engine failed.
        """
        given = _listed(docs)
        documents = _documents(given, doc_ids, metadata)
        pages = read_documents(documents, partial(_page, given), self.options.on_bad_page)
        ranked = rank_documents(self.reranker.get(), query, pages, options=self.options, every_page=True)
        results = [
            Result(document=_ranked(documents[result.index], result), score=result.score, rank=rank)
            for rank, result in enumerate(ranked, start=1)
        ]
        return RankedResults(results=results, query=query, has_scores=True)

    def score(self, query: str, doc: str | Document) -> float:
        """Returns the logit of a single page, whatever the scale; the probability of a single page is always 1.

        Args:
            query: What to look for.
            doc: The document that shows the page.

        Raises:
            InvalidInput: The query or the document is invalid (a ValueError).
            EngineError: The engine failed.
        """
        given = _listed(doc)
        pages = read_documents(_documents(given), partial(_page, given), self.options.on_bad_page)
        options = replace(self.options, scale="logit")
        return rank_documents(self.reranker.get(), query, pages, options=options)[0].score

    def as_langchain_compressor(self, k: int = 10) -> ZipRerankCompressor:
        """Returns a compressor for LangChain on the same engine.

        Args:
            k: Most documents that it returns.

        Raises:
            MissingDependency: The extra ``langchain`` is not installed.
        """
        from pydantic import SecretStr

        from ziprerank.integrations.langchain import ZipRerankCompressor

        password = None if self.options.password is None else SecretStr(self.options.password)
        return ZipRerankCompressor(top_n=k, **{**asdict(self.options), "password": password}, reranker=self.reranker)


def _ranked(document: Document, result: RankedDocument) -> Document:
    """Returns a copy with what was done, which names the page if the document shows several and names none."""
    one = copy.copy(document)
    page = {} if result.page is None else {_RULES.page_key: result.page}
    one.metadata = {**(document.metadata or {}), **page, DONE: result.done}
    return one


def _listed(docs: str | Document | Sequence[str | Document]) -> list[str | Document]:
    return [docs] if isinstance(docs, (str, Document)) else list(docs)


def _documents(
    given: Sequence[str | Document],
    doc_ids: Sequence[str] | Sequence[int] | None = None,
    metadata: Sequence[dict[str, Any]] | None = None,
) -> list[Document]:
    """Returns copies of the documents that each have an id: the given one, the document's own, or its position."""
    for name, values in (("doc_ids", doc_ids), ("metadata", metadata)):
        if values is not None and len(values) != len(given):
            raise InvalidInput(f"{len(values)} {name} for {len(given)} documents: give one for each")
    documents = []
    for index, doc in enumerate(given):
        document = copy.copy(doc) if isinstance(doc, Document) else _from_text(doc)
        if doc_ids is not None:
            document.doc_id = doc_ids[index]
        elif document.doc_id is None:
            document.doc_id = index
        if metadata is not None:
            document.metadata = metadata[index]
        documents.append(document)
    return documents


def _from_text(text: str) -> Document:
    found = page_in_text(text)
    if found is None:
        return Document(text)
    if isinstance(found, bytes):
        return Document(document_type="image", base64=text)
    return Document(document_type="image", image_path=text)


def _page(given: Sequence[str | Document], index: int, document: Document) -> DocumentPage:
    page = _RULES.page(document.metadata)
    if document.base64:
        return replace(encoded_page(document.base64, page, "metadata['page_number']"), text=document.text or None)
    if document.image_path:
        return replace(_RULES.file(document.image_path, document.metadata), text=document.text or None)
    looked_for = isinstance(given[index], str)  # by _from_text
    ways = f"{_WAYS}; there is no file {quoted(document.text)}" if looked_for else _WAYS
    return text_alone(index, f"document {document.doc_id}", ways, document.text)


AVAILABLE_RANKERS["ZipRerankRanker"] = ZipRerankRanker
