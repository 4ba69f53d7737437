"""The ``rank`` of sentence-transformers' ``CrossEncoder``, on page images. Needs no package.

>>> from ziprerank.integrations.sentence_transformers import ZipRerankCrossEncoder
>>> ZipRerankCrossEncoder().rank("revenue by region", [image, "scan.png"], top_k=1)
[{'corpus_id': 1, 'score': 0.83}]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image

from ziprerank.errors import InvalidInput
from ziprerank.integrations.documents import Data, DocumentPage, no_page, page_in_text, shortened
from ziprerank.integrations.engine import LazyReranker
from ziprerank.integrations.ranking import RankOptions, Scale, rank_documents, read_documents
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineOptions
from ziprerank.windows import WindowOption

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ziprerank.runtime.engine import EngineKeywords

PageDocument: TypeAlias = "str | Data | Mapping[str, Any]"

_WAYS = (
    "give a Pillow image, a uint8 array [h, w, 3], bytes, a path, base64, a data URL, or a dict with one of these as "
    "'image' (and of a PDF its 'page' from 1)"
)


class ZipRerankCrossEncoder:
    """Ranks pages against each other in one pass; there is no ``predict``, which would score each by itself."""

    def __init__(
        self,
        model_name_or_path: str | None = None,
        *,
        keep_ratio: float | None = None,
        window: WindowOption = "auto",
        stride: int | None = None,
        scale: Scale = "probability",
        password: str | None = None,
        reranker: Reranker | LazyReranker | None = None,
        **engine: Unpack[EngineKeywords],
    ) -> None:
        """Keeps the options; the engine loads at the first ranking.

        Args:
            model_name_or_path: Folder of a bundle; None is the one in the package.
            keep_ratio: As for ``Reranker.rank``.
            window: As for ``Reranker.rank``.
            stride: As for ``Reranker.rank``.
            scale: What a score is: the ``"probability"`` in the page's window, or the ``"logit"``.
            password: Opens encrypted PDFs.
            reranker: A loaded one, which may be shared.
            **engine: Any other field of ``EngineOptions``.

        Raises:
            InvalidInput: An option that no ranking can use.
        """
        self.options = RankOptions(keep_ratio, window, stride, scale, password)
        given = EngineOptions(bundle=model_name_or_path, **engine)
        self.reranker = LazyReranker.of(reranker, given)

    def rank(
        self,
        query: str,
        documents: Sequence[PageDocument],
        top_k: int | None = None,
        return_documents: bool = False,
    ) -> list[dict[str, Any]]:
        """Ranks documents, best first, as dicts of ``corpus_id`` (position in ``documents``) and ``score``.

        With ``return_documents`` each dict has the document too, as ``text``, which is CrossEncoder's name for it.
        Each document is one page. Raises InvalidInput (a ValueError), PoolError or EngineError.
        """
        pages = read_documents(documents, _page)
        ranked = rank_documents(self.reranker.get(), query, pages, top_k, self.options)
        return [
            {"corpus_id": result.index, "score": result.score}
            | ({"text": documents[result.index]} if return_documents else {})
            for result in ranked.results
        ]


def _page(index: int, document: PageDocument) -> DocumentPage:
    page: int | None = None
    if isinstance(document, Mapping):
        unknown = set(document) - {"image", "page"}
        if unknown or "image" not in document:
            raise no_page(index, f"document of {sorted(map(str, document))}", _WAYS)
        page, document = document.get("page"), document["image"]
        if page is not None and (isinstance(page, bool) or not isinstance(page, int)):
            raise InvalidInput(f"page {page!r}: give a whole number from 1")
    hint = "'page' beside 'image'"
    if isinstance(document, str):
        found = page_in_text(document)
        if found is None:
            raise no_page(index, shortened(document), f"{_WAYS}; no such file is there")
        return DocumentPage(found, page, hint)
    if isinstance(document, (bytes, Path, Image.Image, np.ndarray)):
        return DocumentPage(document, page, hint)
    raise InvalidInput(f"a page cannot be a {type(document).__name__}: {_WAYS}")
