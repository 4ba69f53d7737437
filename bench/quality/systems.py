"""The systems; each scores every query's candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from statistics import fmean

from ziprerank import Reranker
from ziprerank.evaluation.formats.pdf import PdfData, page_id
from ziprerank.evaluation.systems import Engine
from ziprerank.first_stage.bm25 import Index, words_of
from ziprerank.windows import WindowOption, plan_windows

from .documents import located
from .queries import Query
from .text import Pages

Locate = Callable[[Path, str], Path]
"""Maps a folder and a document's name to its file; raises SystemExit for a missing one."""


@dataclass(slots=True)
class Run:
    """One system over all queries.

    Attributes:
        system: its name.
        bundle: name of the checkpoint that the bundle was exported from.
        bundle_id: start of the bundle's digest.
        longest_side: page size in px.
        keep_ratio: share of each page's visual tokens that the decoder reads.
        blank: whether visual tokens of blank paper are dropped or kept.
        window: pages in one pass.
        stride: pages that the window moves by.
        page_ms: mean milliseconds that a page takes before it can be ranked, None where it is not measured; each
            system's function says what they hold.
        scores: of each query's candidates in their order, the best page's highest.
        ranks: of the right pages, from 1, in the order of the queries.
    """

    system: str
    bundle: str | None = None
    bundle_id: str | None = None
    longest_side: int | None = None
    keep_ratio: float | None = None
    blank: str | None = None
    window: int | None = None
    stride: int | None = None
    page_ms: float | None = None
    scores: list[list[float]] = field(default_factory=list)
    ranks: list[int] = field(default_factory=list)

    def add(self, query: Query, scores: Sequence[float]) -> None:
        """Adds a query by the scores of its candidates; equal ones keep their order, which is random in the set."""
        order = sorted(range(len(scores)), key=lambda at: -scores[at])
        self.scores.append([float(score) for score in scores])
        self.ranks.append(order.index(query.candidates.index(query.page)) + 1)

    def settings(self) -> dict[str, object]:
        """Returns what tells the system from others: neither scores, ranks nor time."""
        names = ("system", "bundle", "bundle_id", "longest_side", "keep_ratio", "blank", "window", "stride")
        return {name: getattr(self, name) for name in names}


def bm25(queries: Sequence[Query], folder: Path) -> Run:
    """Ranks by BM25 on the true text, with the word frequencies of the whole document."""
    run = Run("bm25 on the true text")
    for file, asked in by_document(queries, folder):
        pages = Pages.read(file)
        index = Index(pages.words)
        for query in asked:
            scores = index.scores(words_of(query.query))
            run.add(query, [scores[page] for page in query.candidates])
    return run


def ziprerank(
    reranker: Reranker,
    queries: Sequence[Query],
    folder: Path,
    keep_ratios: Sequence[float],
    window: WindowOption = "auto",
    locate: Locate = located,
) -> list[Run]:
    """Ranks with one bundle at each keep ratio.

    Each query is ranked at all keep ratios in turn, and queries go document by document, so that page features are
    often still in the engine's pool.
    The first run's ``page_ms`` is what a page takes in the first query of a document, whole: opening, rendering, both
    parts of the model, divided by the pages, and the mean over the documents.

    Returns:
        One run for each keep ratio.
    """
    candidates = max(len(query.candidates) for query in queries)
    engine = Engine(reranker, keep_ratios, window)
    runs = [described(reranker, keep_ratio, window, candidates) for keep_ratio in engine.keep_ratios]
    page_ms: list[float] = []
    for file, asked in by_document(queries, folder, locate):
        print(f"{runs[0].bundle}: {file.name}, {len(asked)} queries", flush=True)
        data = PdfData(file.parent, pages={file.name: 1 + max(max(query.candidates) for query in asked)})
        for query in asked:
            pages = [page_id(file.name, page) for page in query.candidates]
            found = engine.rank(query.query, pages, data)
            if query is asked[0]:
                page_ms.append(found[0].ms["total"] / len(pages))
            for run, ranked in zip(runs, found, strict=True):
                scores = dict(zip(ranked.order, ranked.scores, strict=True))
                run.add(query, [scores[at] for at in range(len(pages))])
    runs[0].page_ms = fmean(page_ms)
    return runs


def described(reranker: Reranker, keep_ratio: float, window: WindowOption, candidates: int) -> Run:
    """Returns a run with the settings used for this number of candidates, and without ranks."""
    bundle = reranker.bundle
    plan = plan_windows(candidates, window, None, bundle.defaults)
    return Run(
        "ziprerank",
        str(bundle.source.get("name", bundle.path.name)),
        bundle.bundle_id[:12],
        bundle.image.longest_side,
        keep_ratio,
        "drop" if reranker.engine.info["drop_blank"] else "keep",
        plan.width,
        plan.starts[0] - plan.starts[1] if len(plan.starts) > 1 else None,
    )


def by_document(queries: Sequence[Query], folder: Path, locate: Locate = located) -> Iterator[tuple[Path, list[Query]]]:
    """Yields each document's file with its queries, which must be consecutive.

    Raises:
        SystemExit: a document is missing.
    """
    for name, asked in groupby(queries, key=lambda query: query.document):
        yield locate(folder, name), list(asked)
