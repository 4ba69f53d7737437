"""ZipRerank as a model of mteb's reranking tasks with page images (extra ``mteb``).

>>> import mteb
>>> from ziprerank.integrations.mteb import ZipRerankSearch
>>> mteb.evaluate(ZipRerankSearch(keep_ratio=0.5), tasks)

mteb's own wrappers send a cross-encoder one document at a time, which says nothing to a model that compares pages.
This one ranks all of a query's candidates together. If there are more than one pass takes, a first stage picks those
that the model reads, or windows go over all of them, as ``Reranker.rank`` has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mteb.models.model_meta import ModelMeta

from ziprerank import __version__
from ziprerank.errors import InvalidInput
from ziprerank.first_stage.stage import CANDIDATES, FirstStage
from ziprerank.inputs.bad_pages import OnBadPage
from ziprerank.inputs.pages import Page, PageInput
from ziprerank.integrations.engine import LazyReranker
from ziprerank.integrations.ranking import RankOptions, warn_of_pages
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineOptions
from ziprerank.strategies import StrategyOption
from ziprerank.windows import WindowOption

if TYPE_CHECKING:
    from pathlib import Path

    from mteb.types import CorpusDatasetType, QueryDatasetType, RetrievalOutputType, TopRankedDocumentsType
    from typing_extensions import Unpack

    from ziprerank.runtime.engine import EngineKeywords

IMAGE, TEXT = "image", "text"  # columns of a corpus


class ZipRerankSearch:
    """A model that ``mteb.evaluate`` takes for reranking tasks with images (mteb's ``SearchProtocol``)."""

    def __init__(
        self,
        bundle: str | Path | None = None,
        *,
        keep_ratio: float | None = None,
        window: WindowOption = "auto",
        stride: int | None = None,
        strategy: StrategyOption = "auto",
        first_stage: FirstStage = "auto",
        candidates: int | None = None,
        instruction: str | None = None,
        on_bad_page: OnBadPage = "raise",
        budget_ms: float | None = None,
        reranker: Reranker | LazyReranker | None = None,
        **engine: Unpack[EngineKeywords],
    ) -> None:
        """Keeps the options; the engine loads at the first search.

        Args:
            bundle: The bundle's folder; None is the bundle inside the package.
            keep_ratio: As for ``Reranker.rank``.
            window: As for ``Reranker.rank``.
            stride: As for ``Reranker.rank``.
            strategy: As for ``Reranker.rank``.
            first_stage: As for ``Reranker.rank``, of a query's candidates in the task.
            candidates: As for ``Reranker.rank``. The pages that the model does not read are ranked behind the others.
            instruction: As for ``Reranker.rank``.
            on_bad_page: As for ``Reranker.rank``; a Python warning (``PageWarning``) names what is skipped, and counts
                as not found.
            budget_ms: As for ``Reranker.rank``, of each query.
            reranker: A loaded reranker, which may be shared.
            **engine: Any other field of ``EngineOptions``.

        Raises:
            InvalidInput: An option is invalid, or engine options are given with a reranker.
        """
        self.reranker = LazyReranker.of(reranker, EngineOptions(bundle=bundle, **engine))
        self.options = RankOptions(
            keep_ratio=keep_ratio,
            window=window,
            stride=stride,
            strategy=strategy,
            first_stage=first_stage,
            candidates=candidates,
            instruction=instruction,
            on_bad_page=on_bad_page,
            budget_ms=budget_ms,
        )
        self._corpus: CorpusDatasetType | None = None
        self._texts = False  # whether the model reads the corpus's texts

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """What mteb writes beside the results; the revision tells bundles and options of rankings apart."""
        engine = self.reranker.options
        loaded = engine.load_bundle()
        settings = {**self.options.of_call(), "blank": engine.blank or loaded.defaults.blank}
        if self.options.budget_ms is None:  # which may lower what is not given
            settings["keep_ratio"] = self.options.keep_ratio or loaded.defaults.keep_ratio
            settings["candidates"] = self.options.candidates or CANDIDATES
        return ModelMeta.create_empty(
            overwrites={
                "name": f"ziprerank/{loaded.source.get('name', loaded.path.name)}",
                "revision": f"{loaded.bundle_id[:12]}-{__version__}",
                "modalities": ["text", "image"],
                "experiment_kwargs": settings,
            }
        )

    def index(self, corpus: CorpusDatasetType, **_: Any) -> None:
        """Keeps the corpus, whose images are decoded as they are ranked.

        Args:
            corpus: With the columns ``id`` and ``image``; for a bundle whose prompt has a place for texts, with
                ``image``, ``text`` or both, and then the text is read behind the image.
            **_: What else mteb gives, such as the task's metadata.

        Raises:
            InvalidInput: The corpus has nothing that the bundle reads.
        """
        texts = self.reranker.options.load_bundle().prompt.text is not None
        if IMAGE not in corpus.column_names and not (texts and TEXT in corpus.column_names):
            wanted = f"{IMAGE!r} or {TEXT!r}" if texts else repr(IMAGE)
            raise InvalidInput(f"the corpus has the columns {corpus.column_names}: pages are ranked by their {wanted}")
        self._texts = texts and TEXT in corpus.column_names
        self._corpus = corpus

    def search(
        self,
        queries: QueryDatasetType,
        *,
        top_k: int,
        top_ranked: TopRankedDocumentsType | None = None,
        **_: Any,
    ) -> RetrievalOutputType:
        """Ranks the candidates of each query.

        Args:
            queries: With the columns ``id`` and ``text``.
            top_k: Most documents of a query in the result; all candidates are ranked.
            top_ranked: The candidates' ids by query id.
            **_: What else mteb gives.

        Returns:
            Documents of each query with scores that fall by 1 from rank to rank, since those of several windows are
            not comparable.

        Raises:
            InvalidInput: The task has no candidates, or a query or a page cannot be ranked.
        """
        if top_ranked is None:
            raise InvalidInput("the task has no top_ranked: ZipRerank ranks the candidates of a reranking task")
        if self._corpus is None:
            raise InvalidInput("index the corpus before searching it")
        corpus = self._corpus
        places = {str(name): place for place, name in enumerate(corpus["id"])}
        found: RetrievalOutputType = {}
        for name, text in zip(queries["id"], queries["text"], strict=True):
            pages = list(top_ranked.get(name, ()))
            if not pages:
                raise InvalidInput(f"query {name!r} has no candidates in top_ranked")
            unknown = next((page for page in pages if page not in places), None)
            if unknown is not None:
                raise InvalidInput(f"query {name!r} has the candidate {unknown!r}, which the corpus lacks")
            documents = [self._document(corpus[places[page]]) for page in pages]
            ranking = self.reranker.get().rank(text, documents, **self.options.of_call())
            warn_of_pages(ranking)
            order = [pages[page.index] for page in ranking][:top_k]
            found[str(name)] = {page: float(len(order) - at) for at, page in enumerate(order)}
        return found

    def _document(self, row: Mapping[str, Any]) -> PageInput:
        image: PageInput | None = row.get(IMAGE)
        text = row.get(TEXT) if self._texts else None
        return Page(image, text) if text or image is None else image
