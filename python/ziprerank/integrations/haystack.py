"""A ranker component for Haystack 2 and newer (extra ``haystack``).

>>> from ziprerank.integrations.haystack import ZipRerankRanker
>>> pipeline.add_component("ranker", ZipRerankRanker(top_k=3))
>>> pipeline.connect("retriever.documents", "ranker.documents")

Versions of Haystack that restrict which modules a pipeline may load read this component back with
``Pipeline.loads(text, allowed_modules=["ziprerank.*"])``.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from ziprerank.integrations import missing_extra

try:
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.utils import Secret, deserialize_secrets_inplace
except ImportError as error:
    raise missing_extra("haystack", error) from error

from ziprerank.first_stage.stage import FirstStage
from ziprerank.inputs.bad_pages import OnBadPage
from ziprerank.integrations.documents import DocumentPage, MetadataRules, encoded_page, text_alone
from ziprerank.integrations.engine import LazyReranker
from ziprerank.integrations.ranking import DONE, RankedDocument, RankOptions, rank_documents, read_documents
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineOptions
from ziprerank.scales import Scale
from ziprerank.strategies import StrategyOption
from ziprerank.windows import WindowOption

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ziprerank.runtime.engine import EngineKeywords


@component
class ZipRerankRanker:
    """Ranks documents by the page images that they come from.

    A document shows a page by an image or a PDF, in its ``blob`` or at the path ``meta["file_path"]``; for a PDF,
    ``meta["page_number"]`` is the page from 1. A PDF or a TIFF without it is ranked by all its pages, each of which is
    a copy of the document with an id of its own and its ``meta["page_number"]``. A document that shows no page is
    ranked by its content, if the bundle's prompt has a place for texts, and raises a ValueError otherwise. ``run``
    returns copies of the documents, best first, with ``score`` and ``meta["ziprerank"]``, which says what was done:
    first stage, strategy, passes, and what a budget chose.
    """

    def __init__(
        self,
        *,
        top_k: int | None = None,
        bundle: str | None = None,
        keep_ratio: float | None = None,
        window: WindowOption = "auto",
        stride: int | None = None,
        instruction: str | None = None,
        scale: Scale = "probability",
        file_path_meta_field: str = "file_path",
        page_number_meta_field: str = "page_number",
        root_path: str | None = None,
        password: Secret | None = None,
        on_bad_page: OnBadPage = "raise",
        strategy: StrategyOption = "auto",
        first_stage: FirstStage = "auto",
        candidates: int | None = None,
        budget_ms: float | None = None,
        reranker: Reranker | LazyReranker | None = None,
        **engine: Unpack[EngineKeywords],
    ) -> None:
        """Keeps the options; the engine loads in ``warm_up`` or at the first ``run``.

        Args:
            top_k: Most documents that ``run`` returns, unless its own ``top_k`` says otherwise; None is all.
            bundle: The bundle's folder; None is the bundle inside the package.
            keep_ratio: As for ``Reranker.rank``.
            window: As for ``Reranker.rank``.
            stride: As for ``Reranker.rank``.
            instruction: As for ``Reranker.rank``.
            scale: Scores to return: ``"probability"`` within the page's last pass, ``"sigmoid"`` or ``"logit"``.
            file_path_meta_field: Key in ``meta`` of the PDF's or the image's path.
            page_number_meta_field: Key in ``meta`` of the page in a PDF, from 1.
            root_path: Folder that paths are relative to and must stay in.
            password: Opens encrypted PDFs.
            on_bad_page: As for ``Reranker.rank``; a Python warning (``PageWarning``) names what is skipped.
            strategy: As for ``Reranker.rank``.
            first_stage: As for ``Reranker.rank``.
            candidates: As for ``Reranker.rank``.
            budget_ms: As for ``Reranker.rank``.
            reranker: A loaded reranker, which several components may share; ``to_dict`` writes its options.
            **engine: Any other field of ``EngineOptions``.

        Raises:
            InvalidInput: An option is invalid, or engine options are given with a reranker.
        """
        self.top_k = top_k
        self.options = RankOptions(
            keep_ratio=keep_ratio,
            window=window,
            stride=stride,
            scale=scale,
            password=None if password is None else password.resolve_value(),
            on_bad_page=on_bad_page,
            strategy=strategy,
            first_stage=first_stage,
            candidates=candidates,
            instruction=instruction,
            budget_ms=budget_ms,
        )
        self.password = password
        self.rules = MetadataRules(file_path_meta_field, page_number_meta_field, root=root_path)
        self.reranker = LazyReranker.of(reranker, EngineOptions(bundle=bundle, **engine))

    def warm_up(self) -> None:
        """Loads the engine; otherwise the first ``run`` does. Raises as ``Reranker.from_bundle``."""
        self.reranker.get()

    def to_dict(self) -> dict[str, Any]:
        """Returns the component as data for ``from_dict``."""
        given = {
            **asdict(self.options),
            **asdict(self.reranker.options),
            "top_k": self.top_k,
            "password": None if self.password is None else self.password.to_dict(),
            "file_path_meta_field": self.rules.path_key,
            "page_number_meta_field": self.rules.page_key,
            "root_path": self.rules.root,
        }
        return default_to_dict(self, **given)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ZipRerankRanker:
        """Makes a component from the data of ``to_dict``."""
        deserialize_secrets_inplace(data["init_parameters"], keys=["password"])
        return default_from_dict(cls, data)

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, list[Document]]:
        """Ranks documents.

        Args:
            query: What to look for.
            documents: Documents that each show a page.
            top_k: Most documents to return; None is the component's own ``top_k``.

        Returns:
            The best documents under ``"documents"``.

        Raises:
            InvalidInput: The query, an option or a document is invalid (a ValueError).
            PoolError: The pages do not fit the engine's memory.
            EngineError: The engine failed.
        """
        if not documents:
            return {"documents": []}
        pages = read_documents(documents, self._page, self.options.on_bad_page)
        top_k = self.top_k if top_k is None else top_k
        ranked = rank_documents(self.reranker.get(), query, pages, top_k, self.options, every_page=True)
        return {"documents": [self._scored(documents[result.index], result) for result in ranked]}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, documents: list[Document], top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """Calls ``run`` in a thread."""
        result: dict[str, list[Document]] = await asyncio.to_thread(self.run, query, documents, top_k)
        return result

    def _scored(self, document: Document, result: RankedDocument) -> Document:
        if result.page is not None:  # Haystack makes an id of the page's own, which is the same after every ranking
            document = replace(document, id="", meta={**document.meta, self.rules.page_key: result.page})
        return replace(document, meta={**document.meta, DONE: result.done}, score=result.score)

    def _page(self, index: int, document: Document) -> DocumentPage:
        if document.blob is not None:
            page, hint = self.rules.page(document.meta), f"meta[{self.rules.page_key!r}]"
            return encoded_page(document.blob.data, page, hint)
        shown = self.rules.read(document.meta)
        if shown is None:
            ways = (
                f"give an image or a PDF in blob or at the path meta[{self.rules.path_key!r}], and the page of a PDF "
                f"from 1 in meta[{self.rules.page_key!r}]"
            )
            return text_alone(index, f"document {document.id}", ways, document.content)
        return shown
