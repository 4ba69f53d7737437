"""BM25 and another system together, by a rule that is fixed on other documents.

    python -m bench.quality.fetch FOLDER --development
    python -m bench.quality.fusion OUT.jsonl --documents FOLDER [--bundle BUNDLE]

Each system's scores of a query's candidates are standardised, and a page's score is their weighted sum.
The command has one row for each weight of the model in the box, on the development queries. The best of them is what
to give ``python -m bench.quality --fuse WEIGHT`` on the set that the tables are about: 0.3 by the mean reciprocal rank,
for the model that is in the box now (bench/results/fusion_cpu.jsonl).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ziprerank import Reranker
from ziprerank.bundle import default_bundle
from ziprerank.comparison import machine

from .metrics import means
from .queries import DEVELOPMENT, Query, read_queries
from .systems import Run, bm25, ziprerank

KEEP_RATIO = 0.5
_WEIGHTS = tuple(step / 20 for step in range(21))


def main(arguments: Sequence[str] | None = None) -> None:
    """Ranks the development queries with each weight and writes the rows."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.quality.fusion", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="rows, one JSON object a line")
    parser.add_argument("--documents", type=Path, required=True, help="folder of the PDFs")
    parser.add_argument("--queries", type=Path, default=DEVELOPMENT, help="default: development.jsonl")
    parser.add_argument("--bundle", type=Path, default=default_bundle(), help="default: the one in the package")
    options = parser.parse_args(arguments)
    queries = read_queries(options.queries)
    words = bm25(queries, options.documents)
    with Reranker.from_bundle(options.bundle) as reranker:
        (model,) = ziprerank(reranker, queries, options.documents, [KEEP_RATIO])
    about = {"what": "fusion", "queries": options.queries.name, **machine.describe()}
    rows = []
    for weight in _WEIGHTS:
        run = fused(words, model, queries, weight)
        values = {name: round(value, 4) for name, value in means(run.ranks).items()}
        rows.append({**run.settings(), "weight": weight, "n": len(queries), **values, **about})
        print(f"{weight:.2f}: {values}")
    options.out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def fused(words: Run, other: Run, queries: Sequence[Query], weight: float) -> Run:
    """Ranks by ``(1 - weight)`` times the standardised scores of ``words`` and ``weight`` times those of ``other``."""
    run = replace(other, system=f"{other.system} + BM25", page_ms=None, scores=[], ranks=[])
    for query, one, two in zip(queries, words.scores, other.scores, strict=True):
        run.add(query, ((1 - weight) * standardised(one) + weight * standardised(two)).tolist())
    return run


def standardised(scores: Sequence[float]) -> NDArray[np.float64]:
    """Returns scores ``[n]`` with mean 0 and standard deviation 1; zeros where all are equal."""
    values: NDArray[np.float64] = np.asarray(scores, dtype=np.float64)
    values -= values.mean()
    deviation = float(values.std())
    if deviation > 0:
        values /= deviation
    return values


if __name__ == "__main__":
    main()
