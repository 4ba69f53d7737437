"""Runs two bundles on the same pages and queries, for ``ziprerank verify``: what they scored, what they kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ziprerank.bundle import Bundle, ImageRules
from ziprerank.inputs.pages import open_pages
from ziprerank.reranker import Reranker
from ziprerank.windows import MAX_WINDOW

if TYPE_CHECKING:
    from ziprerank.export.agreement import Agreement, Judged

PageSets = Mapping[str, Sequence[NDArray[np.uint8]]]
"""pages [h, w, 3] at their final size, by the name that the report gives them"""


def read_pages(files: Sequence[Path], rules: ImageRules) -> dict[str, list[NDArray[np.uint8]]]:
    """Every page of each file at its final size, by the file's name (its path, for a name that comes again).

    Raises PageError.
    """
    pages: dict[str, list[NDArray[np.uint8]]] = {}
    for file in files:
        with open_pages(file, rules) as sources:
            pages[str(file) if file.name in pages else file.name] = [source.prepare() for source in sources]
    return pages


def judge_both(
    reference: Path, bundle: Path, pages: PageSets, queries: Sequence[str], *, provider: str, threads: int
) -> list[Agreement]:
    """One row for each set of pages and keep ratio (all, and ``bundle``'s default); the reference runs on the CPU.

    One bundle is in memory at a time. Raises what ``Reranker`` raises, ExportError from ``compare``.
    """
    from ziprerank.export.agreement import compare

    ratios = sorted({1.0, Bundle.load(bundle, check="size").defaults.keep_ratio}, reverse=True)
    expected = _judge(reference, pages, queries, ratios, "cpu", threads)
    actual = _judge(bundle, pages, queries, ratios, provider, threads)
    return [compare(*key, expected[key], actual[key]) for key in expected]


def _judge(
    bundle: Path, pages: PageSets, queries: Sequence[str], ratios: Sequence[float], provider: str, threads: int
) -> dict[tuple[str, float], list[Judged]]:
    from ziprerank.export.agreement import Judged

    reranker = Reranker.from_bundle(bundle, provider=provider, threads=threads)
    judged: dict[tuple[str, float], list[Judged]] = {}
    for name, images in pages.items():
        for ratio in ratios:
            rankings = [
                ranking
                # passes of about equal size, so that none is left with a single page
                for part in np.array_split(np.arange(len(images)), -(-len(images) // MAX_WINDOW))
                for ranking in reranker.rank_many(
                    queries, [images[page] for page in part], keep_ratio=ratio, window="off"
                )
            ]
            judged[name, ratio] = [
                Judged(np.array([page.score for page in ordered]), tuple(frozenset(page.kept) for page in ordered))
                for ranking in rankings
                for ordered in [sorted(ranking, key=lambda page: page.index)]
            ]
    return judged
