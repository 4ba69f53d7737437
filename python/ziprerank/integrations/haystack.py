"""Haystack 2 and newer: a ranker component (extra ``haystack``).

>>> from ziprerank.integrations.haystack import ZipRerankRanker
>>> pipeline.add_component("ranker", ZipRerankRanker(top_k=3))
>>> pipeline.connect("retriever.documents", "ranker.documents")

``Pipeline.loads(text, allowed_modules=["ziprerank.*"])`` reads a pipeline with this component back, in versions of
Haystack that ask which modules may be loaded.
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

from ziprerank.integrations.documents import DocumentPage, MetadataRules, encoded_page, no_page
from ziprerank.integrations.engine import LazyReranker
from ziprerank.integrations.ranking import RankOptions, Scale, rank_documents, read_documents
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineOptions
from ziprerank.windows import WindowOption

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ziprerank.runtime.engine import EngineKeywords


@component
class ZipRerankRanker:
    """Ranks documents by the page images that they come from.

    A document shows a page by its ``blob``, an image or a PDF, or by ``meta["file_path"]``; of a PDF it is page
    ``meta["page_number"]``, from 1. Returned are copies, best first, with ``score``. Raises ValueError for a document
    that shows no page.
    """

    def __init__(
        self,
        *,
        top_k: int | None = None,
        bundle: str | None = None,
        keep_ratio: float | None = None,
        window: WindowOption = "auto",
        stride: int | None = None,
        scale: Scale = "probability",
        file_path_meta_field: str = "file_path",
        page_number_meta_field: str = "page_number",
        root_path: str | None = None,
        password: Secret | None = None,
        reranker: Reranker | LazyReranker | None = None,
        **engine: Unpack[EngineKeywords],
    ) -> None:
        """Keeps the options; the engine loads in ``warm_up`` or at the first ``run``.

        Args:
            top_k: How many documents ``run`` returns unless it is told otherwise; None is all.
            bundle: Folder of a bundle; None is the one in the package.
            keep_ratio: As for ``Reranker.rank``.
            window: As for ``Reranker.rank``.
            stride: As for ``Reranker.rank``.
            scale: What a score is: the ``"probability"`` in the page's window, or the ``"logit"``.
            file_path_meta_field: The key in ``meta`` of the PDF's or the image's path.
            page_number_meta_field: The key in ``meta`` of the page in a PDF, from 1.
            root_path: Folder that paths are relative to and must stay in.
            password: Opens encrypted PDFs.
            reranker: A loaded one, which several components may share; ``to_dict`` writes its options.
            **engine: Any other field of ``EngineOptions``.

        Raises:
            InvalidInput: An option that no ranking can use.
        """
        self.top_k = top_k
        self.options = RankOptions(
            keep_ratio, window, stride, scale, None if password is None else password.resolve_value()
        )
        self.password = password
        self.rules = MetadataRules(file_path_meta_field, page_number_meta_field, root=root_path)
        self.reranker = LazyReranker.of(reranker, EngineOptions(bundle=bundle, **engine))

    def warm_up(self) -> None:
        """Loads the engine; ``run`` does where this was not called. Raises as ``Reranker.from_bundle``."""
        self.reranker.get()

    def to_dict(self) -> dict[str, Any]:
        options, rules = self.options, self.rules
        return default_to_dict(
            self,
            top_k=self.top_k,
            keep_ratio=options.keep_ratio,
            window=options.window,
            stride=options.stride,
            scale=options.scale,
            file_path_meta_field=rules.path_key,
            page_number_meta_field=rules.page_key,
            root_path=rules.root,
            password=None if self.password is None else self.password.to_dict(),
            **asdict(self.reranker.options),
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ZipRerankRanker:
        deserialize_secrets_inplace(data["init_parameters"], keys=["password"])
        return default_from_dict(cls, data)

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, list[Document]]:
        """``documents``: the best ``top_k``. Raises InvalidInput (a ValueError), PoolError or EngineError."""
        if not documents:
            return {"documents": []}
        pages = read_documents(documents, self._page)
        top_k = self.top_k if top_k is None else top_k
        ranked = rank_documents(self.reranker.get(), query, pages, top_k, self.options)
        return {"documents": [replace(documents[result.index], score=result.score) for result in ranked.results]}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, documents: list[Document], top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """``run`` in a thread."""
        result: dict[str, list[Document]] = await asyncio.to_thread(self.run, query, documents, top_k)
        return result

    def _page(self, index: int, document: Document) -> DocumentPage:
        if document.blob is not None:
            page, hint = self.rules.page(document.meta), f"meta[{self.rules.page_key!r}]"
            return encoded_page(document.blob.data, page, hint)
        shown = self.rules.read(document.meta)
        if shown is None:
            ways = (
                f"give a blob, or meta[{self.rules.path_key!r}], an image or a PDF with its page from 1 in "
                f"meta[{self.rules.page_key!r}]"
            )
            raise no_page(index, f"document {document.id}", ways)
        return shown
