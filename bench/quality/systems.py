"""The systems: each gives the rank of the right page for every query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from ziprerank import Pdf, Reranker
from ziprerank.train.teachers.bm25 import Index
from ziprerank.windows import WindowOption, plan_windows

from .documents import located
from .queries import Query
from .text import Pages, words_of


@dataclass(slots=True)
class Run:
    """One system over all queries; ``ranks`` are those of the right pages, from 1, in the order of the queries."""

    system: str
    bundle: str | None = None  # name of the checkpoint that the bundle was made from
    bundle_id: str | None = None
    longest_side: int | None = None  # px of a page
    keep_ratio: float | None = None
    blank: str | None = None  # what becomes of visual tokens of blank paper
    window: int | None = None  # pages a pass
    stride: int | None = None
    ranks: list[int] = field(default_factory=list)

    def settings(self) -> dict[str, object]:
        """All but the ranks."""
        names = ("system", "bundle", "bundle_id", "longest_side", "keep_ratio", "blank", "window", "stride")
        return {name: getattr(self, name) for name in names}


def bm25(queries: Sequence[Query], folder: Path) -> Run:
    """On the true text; word frequencies are those of the whole document."""
    run = Run("bm25 on the true text")
    for file, asked in by_document(queries, folder):
        pages = Pages.read(file)
        index = Index(pages.words)
        for query in asked:
            scores = index.scores(words_of(query.query))
            # equal ones keep their order, which is random in the query set
            order = sorted(query.candidates, key=scores.__getitem__, reverse=True)
            run.ranks.append(order.index(query.page) + 1)
    return run


def ziprerank(
    reranker: Reranker,
    queries: Sequence[Query],
    folder: Path,
    keep_ratios: Sequence[float],
    window: WindowOption = "auto",
) -> list[Run]:
    """One run for each keep ratio. A query is ranked at all of them in turn and queries go document by document, so
    that page features are looked up in the engine's pool wherever it still holds them."""
    candidates = max(len(query.candidates) for query in queries)
    runs = [described(reranker, keep_ratio, window, candidates) for keep_ratio in keep_ratios]
    for file, asked in by_document(queries, folder):
        print(f"{runs[0].bundle}: {file.name}, {len(asked)} queries", flush=True)
        for query in asked:
            pages = Pdf(file, [page + 1 for page in query.candidates])
            for run, keep_ratio in zip(runs, keep_ratios, strict=True):
                ranking = reranker.rank(query.query, pages, keep_ratio=keep_ratio, window=window)
                run.ranks.append(next(page.rank for page in ranking if page.page == query.page + 1))
    return runs


def described(reranker: Reranker, keep_ratio: float, window: WindowOption, candidates: int) -> Run:
    """The settings with which so many candidates are ranked; no rank yet."""
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


def by_document(queries: Sequence[Query], folder: Path) -> Iterator[tuple[Path, list[Query]]]:
    """Each document's file with its queries, which must stand together. Raises SystemExit for a document not there."""
    for name, asked in groupby(queries, key=lambda query: query.document):
        yield located(folder, name), list(asked)
