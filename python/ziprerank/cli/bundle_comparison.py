"""Runs two bundles on the same pages and queries, and compares their rankings."""

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
"""Pages ``[h, w, 3]`` at their final size, by the name that the report gives each set."""


def read_pages(files: Sequence[Path], rules: ImageRules) -> dict[str, list[NDArray[np.uint8]]]:
    """Reads every page of each file at its final size.

    Returns:
        The pages by the file's name, or by its path if an earlier file has the same name.

    Raises:
        PageError: A file or a page cannot be read.
    """
    pages: dict[str, list[NDArray[np.uint8]]] = {}
    for file in files:
        with open_pages(file, rules) as sources:
            pages[str(file) if file.name in pages else file.name] = [source.prepare() for source in sources]
    return pages


def compare_bundles(
    reference: Path, bundle: Path, pages: PageSets, queries: Sequence[str], *, provider: str, threads: int
) -> list[Agreement]:
    """Compares the rankings of two bundles, one of which is in memory at a time.

    Args:
        reference: The bundle to compare with, which runs on the CPU.
        bundle: The bundle that is judged.
        pages: Sets of at least two pages.
        queries: Each of them is run on every set.
        provider: Where ``bundle`` runs.
        threads: Threads of the engine; 0 is as many as the CPUs that this process may use.

    Returns:
        One row for each set of pages and each keep ratio: 1 and ``bundle``'s default.

    Raises:
        ExportError: Pages of the reference are all tied, so that they have no order.
        ZipRerankError: A bundle cannot be loaded or run.
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
                    queries,
                    [images[page] for page in part],
                    keep_ratio=ratio,
                    window="auto" if reranker.bundle.defaults.pointwise else "off",
                )
            ]
            judged[name, ratio] = [
                Judged(np.array([page.score for page in ordered]), tuple(frozenset(page.kept) for page in ordered))
                for ranking in rankings
                for ordered in [sorted(ranking, key=lambda page: page.index)]
            ]
    return judged
