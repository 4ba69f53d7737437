"""A node postprocessor for LlamaIndex (extra ``llama-index``).

>>> from ziprerank.integrations.llama_index import ZipRerankPostprocessor
>>> engine = index.as_query_engine(similarity_top_k=20, node_postprocessors=[ZipRerankPostprocessor(top_n=3)])
"""

from __future__ import annotations

from typing import Any

from ziprerank.integrations import missing_extra

try:
    from llama_index.core.callbacks import CBEventType, EventPayload
    from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # exported by use
    from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import BaseNode, ImageNode, MediaResource, Node, NodeWithScore, QueryBundle
except ImportError as error:
    raise missing_extra("llama-index", error) from error
from pydantic import Field, model_validator

from ziprerank.errors import InvalidInput
from ziprerank.integrations.documents import DocumentPage, encoded_page, text_alone
from ziprerank.integrations.pydantic_options import PydanticOptions
from ziprerank.integrations.ranking import DONE, RankedDocument, rank_documents, read_documents

_dispatcher = get_dispatcher(__name__)


class ZipRerankPostprocessor(PydanticOptions, BaseNodePostprocessor):
    """Ranks nodes by the page images that they come from.

    A node shows a page by its image (``image`` or ``image_path`` of an ``ImageNode``, ``image_resource`` of a ``Node``
    or ``Document``), or by ``metadata["file_path"]``, the path of an image or a PDF, and for a PDF
    ``metadata["page_label"]``, as ``SimpleDirectoryReader`` writes them. A string there is the label printed on
    the page; a whole number is its position from 1. Copies of the nodes are returned, best first, each in a new
    ``NodeWithScore``, with ``metadata["ziprerank"]``, which says what was done: first stage, strategy, passes, and what
    a budget chose; it is left out of the texts for language models and embeddings. A PDF or a TIFF without a page is
    ranked by all its pages: each has an id of its own and its ``metadata["page_label"]`` as a number. A node that shows
    no page is ranked by its text, if the bundle's prompt has a place for texts, and raises a ValueError otherwise.
    """

    page_key: str = Field(default="page_label", description="Metadata key of the page in a PDF.")
    keep_retrieval_score: bool = Field(
        default=False,
        description="Whether to return the nodes with the retriever's score in metadata['retrieval_score'].",
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_class_name(cls, values: Any) -> Any:
        """Removes the class name, which LlamaIndex writes among the fields."""
        return (
            {key: value for key, value in values.items() if key != "class_name"} if isinstance(values, dict) else values
        )

    @classmethod
    def class_name(cls) -> str:
        """Returns the name under which LlamaIndex serialises this class."""
        return "ZipRerankPostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        """Ranks nodes; LlamaIndex calls this from ``postprocess_nodes``.

        Args:
            nodes: Nodes that each show a page.
            query_bundle: The query; it is required.

        Returns:
            The best ``top_n`` nodes.

        Raises:
            InvalidInput: The query, an option or a node is invalid (a ValueError).
            PoolError: The pages do not fit the engine's memory.
            EngineError: The engine failed.
        """
        if query_bundle is None:
            raise InvalidInput("nodes cannot be ranked without a query: pass query_bundle or query_str")
        if not nodes:
            return []
        reranker = self._loaded_reranker()
        query, top_n = query_bundle.query_str, self.top_n or len(nodes)
        name = str(reranker.bundle.source.get("name") or "ziprerank")
        _dispatcher.event(ReRankStartEvent(query=query_bundle, nodes=nodes, top_n=top_n, model_name=name))
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: name,
            EventPayload.QUERY_STR: query,
            EventPayload.TOP_K: top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            pages = read_documents(nodes, self._page, self.on_bad_page)
            ranked = rank_documents(reranker, query, pages, self.top_n, self._rank_options(), every_page=True)
            best = [self._scored(nodes[result.index], result) for result in ranked]
            event.on_end(payload={EventPayload.NODES: best})
        _dispatcher.event(ReRankEndEvent(nodes=best))
        return best

    def _scored(self, before: NodeWithScore, result: RankedDocument) -> NodeWithScore:
        node = before.node
        changes: dict[str, Any] = {"metadata": {**node.metadata, DONE: result.done}}
        for unread in ("excluded_llm_metadata_keys", "excluded_embed_metadata_keys"):
            changes[unread] = list(dict.fromkeys([*getattr(node, unread), DONE]))
        if self.keep_retrieval_score:
            changes["metadata"]["retrieval_score"] = before.score
        if result.page is not None:
            changes["metadata"][self.page_key] = result.page
            changes["id_"] = f"{node.node_id}-{result.page}"
        return NodeWithScore(node=node.model_copy(update=changes), score=result.score)

    def _page(self, index: int, scored: NodeWithScore) -> DocumentPage:
        node, rules, hint = scored.node, self._metadata_rules(), f"metadata[{self.page_key!r}]"
        data, path, url = _image_of(node)
        if data:
            return encoded_page(data, rules.page(node.metadata), hint)
        if path or url:
            return rules.file(path or url, node.metadata)  # rejects URLs
        page = rules.read(node.metadata)
        if page is None:
            ways = (
                f"use an ImageNode, or give the path of an image or a PDF in metadata[{self.path_key!r}], and the page "
                f"of a PDF in metadata[{self.page_key!r}]"
            )
            return text_alone(index, f"node {node.node_id}", ways, node.get_content())
        return page


def _image_of(node: BaseNode) -> tuple[str, str, str]:
    """Returns the base64, the path and the URL of a node's image; each is empty if the node has none."""
    if isinstance(node, ImageNode):
        return node.image or "", node.image_path or "", node.image_url or ""
    resource: MediaResource | None = node.image_resource if isinstance(node, Node) else None
    if resource is None:
        return "", "", ""
    return (resource.data or b"").decode(), str(resource.path or ""), str(resource.url or "")
