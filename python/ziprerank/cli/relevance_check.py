"""Whether a bundle's late interaction may pick the pages that its model reads, measured on a data set."""

from __future__ import annotations

import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from ziprerank.errors import InvalidInput
from ziprerank.evaluation.formats.pdf import read
from ziprerank.first_stage.stage import CANDIDATES
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineOptions

LEAST_QUERIES = 50
RANKS_FROM = 0.9
"""Share of queries whose right page must be among the first 20 of its whole document."""


def check_relevance(bundle: Path, folder: Path, *, provider: str, threads: int) -> dict[str, Any]:
    """Ranks the whole documents of a data set by relevance alone, and writes the outcome into the bundle's manifest.

    Args:
        bundle: The bundle.
        folder: ``queries.jsonl`` beside the PDFs that it names, as ``ziprerank eval`` takes them.
        provider: What runs the bundle.
        threads: Threads of the engine, 0 for as many as CPUs.

    Returns:
        The manifest's ``relevance``.

    Raises:
        InvalidInput: There are too few queries about documents of more pages than a pass takes, or the bundle has no
            ``relate.onnx``.
    """
    from ziprerank.export.manifest import read_manifest, write_manifest

    data = read(folder)
    asked = [
        query
        for query in data.queries
        if query.document is not None and query.relevant and len(data.pool(query.document)) > CANDIDATES
    ]
    if len(asked) < LEAST_QUERIES:
        raise InvalidInput(
            f"{folder} has {len(asked)} judged queries about documents of over {CANDIDATES} pages: give at least "
            f"{LEAST_QUERIES}"
        )
    found = pages = 0
    with Reranker.from_options(EngineOptions(bundle, provider, threads, check="size")) as reranker:
        for document, queries in groupby(asked, key=lambda query: query.document):
            group, pool = list(queries), data.pool(document)
            pages += len(pool)
            rankings = reranker.rank_many(  # one page for the model, which changes nothing about the order
                [query.text for query in group], data.inputs(pool), CANDIDATES, first_stage="relevance", candidates=1
            )
            for query, ranking in zip(group, rankings, strict=True):
                grades = query.relevant or {}
                found += any(grades.get(pool[page.index], 0) > 0 for page in ranking)
    recall = found / len(asked)
    outcome = {
        "data": folder.resolve().name,
        "queries": len(asked),
        "pages": pages,
        f"recall@{CANDIDATES}": round(recall, 4),
        "ranks": recall >= RANKS_FROM,
        "date": datetime.date.today().isoformat(),
    }
    write_manifest(bundle, {**read_manifest(bundle), "relevance": outcome})
    return outcome
