"""What ranks candidates: the engine at several keep ratios, and BM25 on the pages' text."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ziprerank.budget import check_budget
from ziprerank.bundle import ImageRules
from ziprerank.call import stage_options
from ziprerank.errors import InvalidInput, PageError
from ziprerank.evaluation.data import Data
from ziprerank.first_stage.bm25 import Index, words_of
from ziprerank.first_stage.stage import FirstStage
from ziprerank.inputs.bad_pages import BadPage, OnBadPage
from ziprerank.inputs.pages import PageInput, open_pages, with_pdf_options
from ziprerank.inputs.workers.limits import PageLimits
from ziprerank.planning import PassOptions, check_options, check_relates
from ziprerank.ranking import Ranking, Timings
from ziprerank.reranker import Reranker
from ziprerank.strategies import StrategyOption
from ziprerank.windows import WindowOption


@dataclass(frozen=True, slots=True)
class Ranked:
    """One query's candidates in order.

    Attributes:
        order: Positions of the candidates, best first.
        scores: What the system said of each, in the same order; the order decides, not these.
        ms: Milliseconds by stage, with ``total``.
        tokens: Tokens by kind, and ``passes``.
        read: Pages whose text was read in ``ms["text"]``, and for no query before.
        skipped: Why a page was left out, by its id.
        read_cpu_ms: Milliseconds of all processors that the reading took, where the system knows them.
        keep_ratio: The engine's, given or chosen by a budget; None for what has none.
        first_stage: What picked the pages that the engine read, as in ``Ranking``; None for what is no engine.
        pages_read: Candidates that the engine's model read; None for what is no engine.
    """

    order: list[int]
    scores: list[float]
    ms: dict[str, float]
    tokens: dict[str, int] = field(default_factory=dict)
    read: int = 0
    read_cpu_ms: float = 0.0
    skipped: dict[str, str] = field(default_factory=dict)
    keep_ratio: float | None = None
    first_stage: str | None = None
    pages_read: int | None = None


class System(Protocol):
    """Ranks one query after another."""

    @property
    def names(self) -> Sequence[str]:
        """Its systems, one for each ranking that ``rank`` returns; without white space."""
        ...

    def settings(self) -> Mapping[str, Any]:
        """What the rankings depend on, as plain values."""
        ...

    def rank(self, query: str, pages: Sequence[str], data: Data) -> list[Ranked]:
        """Ranks the pages once for each name. Raises ``InvalidInput`` for what cannot be ranked, which others can."""
        ...


def candidates(
    data: Data, pages: Sequence[str], rules: ImageRules, on_bad_page: OnBadPage, limits: PageLimits | None
) -> list[PageInput]:
    """Returns ``data.inputs``, with an error in place of a picture of several pages, which has one id.

    With ``"skip"`` each page is apart: a document that cannot be opened is one candidate.

    Args:
        data: Where the pages come from.
        pages: Their ids.
        rules: How pages are opened.
        on_bad_page: As for ``Reranker.rank``.
        limits: As for ``open_pages``.
    """
    apart = [pages] if on_bad_page == "raise" else [[page] for page in pages]
    return [_of_one_page(given, rules, limits) for some in apart for given in data.inputs(some)]


def _of_one_page(given: PageInput, rules: ImageRules, limits: PageLimits | None) -> PageInput:
    if not isinstance(given, (Path, bytes)) or with_pdf_options(given, "1", None) is given:
        return given  # its pages are named, or it is of a kind that has one
    with open_pages(given, rules, "skip", limits=limits) as sources:
        if len(sources) == 1:
            return given
        told = f"it has {len(sources)} pages, and a candidate is one page: give each of them an id of its own"
        return BadPage(PageError(told, source=sources[0].source))


class Engine:
    """The engine at each keep ratio in turn; a query's page features are computed once for all of them."""

    def __init__(
        self,
        reranker: Reranker,
        keep_ratios: Sequence[float | None] = (None,),
        window: WindowOption = "auto",
        stride: int | None = None,
        on_bad_page: OnBadPage = "raise",
        strategy: StrategyOption = "auto",
        instruction: str | None = None,
        budget_ms: float | None = None,
        first_stage: FirstStage = "none",
        candidates: int | None = None,
    ) -> None:
        """Puts a loaded engine and the options of its rankings together.

        Args:
            reranker: The engine.
            keep_ratios: As for ``Reranker.rank``; None is the bundle's.
            window: As for ``Reranker.rank``.
            stride: As for ``Reranker.rank``.
            on_bad_page: As for ``Reranker.rank``; a skipped page is not in the order.
            strategy: As for ``Reranker.rank``.
            instruction: As for ``Reranker.rank``.
            budget_ms: As for ``Reranker.rank``, which chooses each ranking's keep ratio; then none is given.
            first_stage: As for ``Reranker.rank``, of the task's candidates; ``"none"`` has the model read them all. The
                candidates that it leaves behind follow the others in its order.
            candidates: As for ``Reranker.rank``.

        Raises:
            InvalidInput: An option with which no query could be ranked, or keep ratios beside the budget.
        """
        defaults = reranker.bundle.defaults
        reranker.prompts.check_instruction(instruction)
        stage = stage_options(first_stage, candidates)
        passes = PassOptions(window, stride, strategy, stage, None)
        for ratio in keep_ratios:
            check_options(passes, ratio, on_bad_page, budget_ms, defaults)
        check_relates(stage, relates=bool(reranker.engine.info.get("relates")))
        if budget_ms is not None and list(keep_ratios) != [None]:
            raise InvalidInput("a budget_ms chooses the keep ratio: leave the keep ratios out, or the budget")
        self.reranker = reranker
        self.budget_ms = check_budget(budget_ms)
        own = defaults.keep_ratio
        self.keep_ratios = list(dict.fromkeys(own if ratio is None else ratio for ratio in keep_ratios))
        self.window: WindowOption = window
        self.stride = stride
        self.on_bad_page: OnBadPage = on_bad_page
        self.strategy: StrategyOption = strategy
        self.instruction = instruction
        self.first_stage: FirstStage = stage.first_stage
        self.candidates = None if candidates is None else stage.candidates

    @property
    def names(self) -> list[str]:
        name = "ziprerank" if self.first_stage == "none" else f"ziprerank-{self.first_stage}"
        if self.budget_ms is not None:
            return [f"{name}-budget-{self.budget_ms:g}"]
        return [f"{name}-keep-{ratio:g}" for ratio in self.keep_ratios]

    def settings(self) -> dict[str, Any]:
        bundle, info = self.reranker.bundle, self.reranker.engine.info
        return {
            "bundle": str(bundle.source.get("name", bundle.path.name)),
            "bundle_id": bundle.bundle_id,
            "longest_side": bundle.image.longest_side,
            "keep_ratios": self.keep_ratios,
            "blank": "drop" if info["drop_blank"] else "keep",
            "provider": info["provider"],
            "window": self.window,
            "stride": self.stride,
            "strategy": self.strategy,
            **({} if self.instruction is None else {"instruction": self.instruction}),
            **({} if self.budget_ms is None else {"budget_ms": self.budget_ms}),
            **({} if self.first_stage == "none" else {"first_stage": self.first_stage}),
            **({} if self.candidates is None else {"candidates": self.candidates}),
        }

    def rank(self, query: str, pages: Sequence[str], data: Data) -> list[Ranked]:
        """Ranks at each keep ratio.

        Pages, first stage and vision tower take their time at the first keep ratio, and the engine keeps the texts and
        features for the others. Each of these counts the first's time for them, so that every row says what it takes
        alone.
        """
        rules, limits = self.reranker.bundle.image, self.reranker.page_limits
        inputs = candidates(data, pages, rules, self.on_bad_page, limits)
        rankings = [
            self.reranker.rank(
                query,
                inputs,
                keep_ratio=None if self.budget_ms is not None else ratio,
                window=self.window,
                stride=self.stride,
                strategy=self.strategy,
                first_stage=self.first_stage,
                candidates=self.candidates,
                instruction=self.instruction,
                on_bad_page=self.on_bad_page,
                budget_ms=self.budget_ms,
            )
            for ratio in self.keep_ratios
        ]
        first = rankings[0].timings
        return [
            _ranked(ranking, _alone(ranking.timings, first), pages, ratio)
            for ranking, ratio in zip(rankings, self.keep_ratios, strict=True)
        ]


def _alone(own: Timings, first: Timings) -> Timings:
    """Returns the timings of a ranking whose pages had to be prepared and encoded as in the ``first``."""
    total = own.total - own.pages - own.vision + first.pages + first.vision
    return Timings(first.pages, own.tokenize, first.vision, own.rerank, total)


def _ranked(ranking: Ranking, timings: Timings, pages: Sequence[str], keep_ratio: float) -> Ranked:
    return Ranked(
        [page.index for page in ranking],
        [page.score for page in ranking],
        asdict(timings),
        {**asdict(ranking.tokens), "passes": ranking.windows},
        skipped={pages[note.index]: note.text for note in ranking.skipped},
        keep_ratio=keep_ratio if ranking.budget is None else ranking.budget.keep_ratio,
        first_stage=ranking.first_stage,
        pages_read=sum(bool(page.passes) for page in ranking),
    )


class TextBm25:
    """BM25 on the text that the data has of its pages: of PDFs, the text layer.

    Words are counted over the query's candidates. ``text`` of the milliseconds is for the candidates that were not
    read before.
    """

    names = ("bm25-text",)

    def __init__(self) -> None:
        """Loads BM25. Raises MissingDependency if its library is not installed."""
        Index([["once", "so", "that", "no", "query", "waits", "for", "it"]]).scores(["query"])
        self._texts: dict[str, str] = {}

    def settings(self) -> dict[str, Any]:
        return {"text": "of the data"}

    def rank(self, query: str, pages: Sequence[str], data: Data) -> list[Ranked]:
        begun = time.perf_counter()
        fresh = [page for page in pages if page not in self._texts]
        read = data.texts(fresh) if fresh else {}  # of a PDF all pages
        self._texts.update(read)
        text_ms = (time.perf_counter() - begun) * 1e3
        return [by_words(query, [self._texts[page] for page in pages], text_ms, len(read))]


def by_words(query: str, texts: Sequence[str], text_ms: float, read: int) -> Ranked:
    """Ranks texts by BM25; equal scores keep the order given.

    Args:
        query: What is looked for.
        texts: One for each candidate.
        text_ms: Milliseconds that it took to read the texts.
        read: How many texts were read in that time.
    """
    begun = time.perf_counter()
    scores = Index([words_of(text) for text in texts]).scores(words_of(query))
    order = sorted(range(len(texts)), key=lambda at: -scores[at])
    rank_ms = (time.perf_counter() - begun) * 1e3
    ms = {"text": text_ms, "rerank": rank_ms, "total": text_ms + rank_ms}
    return Ranked(order, [scores[at] for at in order], ms, read=read)
