"""A document compressor for LangChain (extra ``langchain``).

>>> from ziprerank.integrations.langchain import ZipRerankCompressor
>>> compressor = ZipRerankCompressor(top_n=3)
>>> best = compressor.compress_documents(documents, "revenue by region")
>>> best[0].metadata["relevance_score"]
0.74
"""

from __future__ import annotations

from collections.abc import Sequence

from ziprerank.integrations import missing_extra

try:
    from langchain_core.callbacks import Callbacks
    from langchain_core.documents import BaseDocumentCompressor, Document
except ImportError as error:
    raise missing_extra("langchain", error) from error
from pydantic import Field
from typing_extensions import override

from ziprerank.inputs.media import is_encoded_page
from ziprerank.integrations.documents import DocumentPage, encoded_page, text_alone
from ziprerank.integrations.pydantic_options import PydanticOptions
from ziprerank.integrations.ranking import DONE, RankedDocument, rank_documents, read_documents


class ZipRerankCompressor(PydanticOptions, BaseDocumentCompressor):
    """Ranks documents by the page images that they come from.

    A document shows a page by ``metadata["source"]``, the path of an image or a PDF, and for a PDF ``metadata["page"]``
    from 0, as LangChain's loaders write them; or by a ``page_content`` that is a page's base64 or ``data:`` URL. The
    numbers ``1``, ``1.0`` and ``"1"`` are the same page; any other string is the label printed on it. A PDF or a TIFF
    without a page is ranked by all its pages, each of which is a copy of the document with its ``metadata["page"]``.
    A document that shows no page is ranked by its text, if the bundle's prompt has a place for texts, and raises a
    ValueError otherwise. ``compress_documents`` returns copies, best first, with ``metadata["relevance_score"]`` and
    ``metadata["ziprerank"]``, which says what was done: first stage, strategy, passes, and what a budget chose.
    """

    path_key: str = Field(default="source", description="Metadata key of the PDF's or the image's path.")
    page_key: str = Field(default="page", description="Metadata key of the page in a PDF.")
    first_page: int = Field(default=0, description="Number of a PDF's first page in the metadata.")

    @override
    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Ranks documents.

        Args:
            documents: Documents that each show a page, or all pages of a file.
            query: What to look for.
            callbacks: Part of LangChain's interface; they are not called.

        Returns:
            Copies of the best ``top_n`` documents.

        Raises:
            InvalidInput: The query, an option or a document is invalid (a ValueError).
            PoolError: The pages do not fit the engine's memory.
            EngineError: The engine failed.
        """
        if not documents:
            return []
        pages = read_documents(documents, self._page, self.on_bad_page)
        options = self._rank_options()
        ranked = rank_documents(self._loaded_reranker(), query, pages, self.top_n, options, every_page=True)
        return [self._scored(documents[result.index], result) for result in ranked]

    def _scored(self, document: Document, result: RankedDocument) -> Document:
        metadata = {**document.metadata, "relevance_score": result.score, DONE: result.done}
        if result.page is None:
            return document.model_copy(update={"metadata": metadata})
        metadata[self.page_key] = result.page - 1 + self.first_page
        page_id = None if document.id is None else f"{document.id}-{result.page}"
        return document.model_copy(update={"id": page_id, "metadata": metadata})

    def _page(self, index: int, document: Document) -> DocumentPage:
        rules = self._metadata_rules()
        if is_encoded_page(document.page_content):
            return encoded_page(document.page_content, rules.page(document.metadata), f"metadata[{self.page_key!r}]")
        page = rules.read(document.metadata)
        if page is None:
            ways = (
                f"give the path of an image or a PDF in metadata[{self.path_key!r}] (and the page of a PDF from "
                f"{self.first_page} in metadata[{self.page_key!r}]), or a page_content that is an image's base64"
            )
            return text_alone(index, document.id or "document", ways, document.page_content)
        return page
