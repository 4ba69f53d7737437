"""Haystack 2 and newer: a ranker component (extra ``haystack``).

>>> from ziprerank.integrations.haystack import ZipRerankRanker
>>> pipeline.add_component("ranker", ZipRerankRanker(top_k=3))
>>> pipeline.connect("retriever.documents", "ranker.documents")

``Pipeline.loads(text, allowed_modules=["ziprerank.*"])`` reads a pipeline with this component back, in versions of
Haystack that ask which modules may be loaded.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from ziprerank.integrations import missing_extra

try:
    from haystack import Document, component, default_from_dict, default_to_dict
except ImportError as error:
    raise missing_extra("haystack", error) from error

from ziprerank.integrations.documents import DocumentPage, MetadataRules, encoded_page, no_page
from ziprerank.integrations.engine import EngineOptions, LazyReranker
from ziprerank.integrations.ranking import RankOptions, Scale, rank_documents, read_documents
from ziprerank.reranker import POOL_BYTES, Reranker
from ziprerank.windows import WindowOption


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
        provider: str = "cpu",
        threads: int = 0,
        pool_bytes: int = POOL_BYTES,
        keep_ratio: float | None = None,
        window: WindowOption = "auto",
        stride: int | None = None,
        scale: Scale = "probability",
        file_path_meta_field: str = "file_path",
        page_number_meta_field: str = "page_number",
        root_path: str | None = None,
        reranker: Reranker | LazyReranker | None = None,
    ) -> None:
        """``top_k``: how many to return, None is all; ``run`` may say otherwise.

        ``bundle``, ``provider``, ``threads``, ``pool_bytes``: as ``Reranker.from_bundle``. ``keep_ratio``, ``window``,
        ``stride``: as ``Reranker.rank``. ``scale``: what a score is, the ``"probability"`` in its window or the
        ``"logit"``. ``root_path``: folder that paths are relative to and must stay in. ``reranker``: a loaded one,
        which several components may share; ``to_dict`` writes its options. Raises InvalidInput.
        """
        self.top_k = top_k
        self.options = RankOptions(keep_ratio, window, stride, scale)
        self.rules = MetadataRules(file_path_meta_field, page_number_meta_field, root=root_path)
        self.reranker = LazyReranker.of(reranker, EngineOptions(bundle, provider, threads, pool_bytes))

    def warm_up(self) -> None:
        """Loads the engine; ``run`` does where this was not called. Raises as ``Reranker.from_bundle``."""
        self.reranker.get()

    def to_dict(self) -> dict[str, Any]:
        engine, options, rules = self.reranker.options, self.options, self.rules
        return default_to_dict(
            self,
            top_k=self.top_k,
            bundle=engine.bundle,
            provider=engine.provider,
            threads=engine.threads,
            pool_bytes=engine.pool_bytes,
            keep_ratio=options.keep_ratio,
            window=options.window,
            stride=options.stride,
            scale=options.scale,
            file_path_meta_field=rules.path_key,
            page_number_meta_field=rules.page_key,
            root_path=rules.root,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ZipRerankRanker:
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
