"""A ranker with the ``rank`` method of sentence-transformers' ``CrossEncoder``, for page images; needs no package.

>>> from ziprerank.integrations.sentence_transformers import ZipRerankCrossEncoder
>>> ZipRerankCrossEncoder().rank("revenue by region", [image, "scan.png"], top_k=1)
[{'corpus_id': 1, 'score': 0.83}]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image

from ziprerank.errors import InvalidInput, quoted
from ziprerank.first_stage.stage import FirstStage
from ziprerank.inputs.bad_pages import OnBadPage
from ziprerank.integrations.documents import Data, DocumentPage, no_page, page_in_text, page_of, text_alone
from ziprerank.integrations.engine import LazyReranker
from ziprerank.integrations.ranking import RankOptions, rank_documents, read_documents
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineOptions
from ziprerank.scales import Scale
from ziprerank.strategies import StrategyOption
from ziprerank.windows import WindowOption

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ziprerank.runtime.engine import EngineKeywords

PageDocument: TypeAlias = "str | Data | Mapping[str, Any]"

_WAYS = (
    "give a Pillow image, a uint8 array [h, w, 3], bytes, a path, base64, a data URL, or a dict with one of these as "
    "'image' (and for a PDF its 'page' from 1)"
)
_PARTS = {"image", "page", "text"}


class ZipRerankCrossEncoder:
    """Ranks pages against each other in one pass. It has no ``predict``, which would score each page by itself.

    Bundles that score each page by itself do so here as well, and rank texts if their prompt has a place for one.
    """

    def __init__(
        self,
        model_name_or_path: str | None = None,
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
            model_name_or_path: The bundle's folder; None is the bundle inside the package.
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
        given = EngineOptions(bundle=model_name_or_path, **engine)
        self.reranker = LazyReranker.of(reranker, given)

    def rank(
        self,
        query: str,
        documents: Sequence[PageDocument],
        top_k: int | None = None,
        return_documents: bool = False,
    ) -> list[dict[str, Any]]:
        """Ranks documents that each are one page.

        Args:
            query: What to look for.
            documents: Images, arrays, bytes, paths, base64, ``data:`` URLs, or dicts with ``image`` and ``page``. With
                a bundle whose prompt has a place for texts also other strings, and dicts with ``text``, alone or beside
                an ``image``.
            top_k: Most results to return; None is all.
            return_documents: Whether results carry the document as ``text``, the key that CrossEncoder uses.

        Returns:
            Dicts with ``corpus_id`` (0-based position in ``documents``) and ``score``, best first.

        Raises:
            InvalidInput: The query, an option or a document is invalid (a ValueError).
            PoolError: The pages do not fit the engine's memory.
            EngineError: The engine failed.
        """
        pages = read_documents(documents, _page, self.options.on_bad_page)
        ranked = rank_documents(self.reranker.get(), query, pages, top_k, self.options)
        return [
            {"corpus_id": result.index, "score": result.score}
            | ({"text": documents[result.index]} if return_documents else {})
            for result in ranked
        ]


def _page(index: int, document: PageDocument) -> DocumentPage:
    if not isinstance(document, Mapping):
        return _shown(index, document, None)
    name, text = f"document of {sorted(map(str, document))}", document.get("text")
    if not (text is None or isinstance(text, str)):
        raise InvalidInput(f"'text' cannot be of type {type(text).__name__}: give a string")
    if set(document) - _PARTS:
        raise no_page(index, name, _WAYS)
    if document.get("image") is None:
        return text_alone(index, name, _WAYS, text)
    shown = _shown(index, document["image"], page_of(document.get("page"), "'page'"))
    if shown.data is None:
        raise no_page(index, quoted(document["image"]), f"{_WAYS}; there is no such file")
    return replace(shown, text=text, refusal=no_page(index, name, f"{_WAYS}, without 'text'")) if text else shown


def _shown(index: int, document: PageDocument, page: int | str | None) -> DocumentPage:
    hint = "'page' beside 'image'"
    if isinstance(document, str):
        found = page_in_text(document)
        if found is None:
            return text_alone(index, quoted(document), f"{_WAYS}; there is no such file", document)
        return DocumentPage(found, page, hint)
    if isinstance(document, (bytes, Path, Image.Image, np.ndarray)):
        return DocumentPage(document, page, hint)
    raise InvalidInput(f"a page cannot be of type {type(document).__name__}: {_WAYS}")
