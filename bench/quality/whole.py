"""Ranks whole manuals: how often the right page is found among all pages, what it takes, and in how many passes.

    python -m bench.quality.whole OUT.jsonl --documents FOLDER [--systems bm25 text partition] [--sample 4]

The systems are

- `bm25`: the first stage alone, BM25 over the text layer (``ziprerank.first_stage``);
- `late`: the other one alone, late interaction of the query with every page;
- `text`, `relevance`: BM25, or late interaction, picks 20 pages, and one pass ranks them;
- `partition` and `windows`: every page goes through the model, by either strategy;
- `backwards`: windows over the pages from the last to the first, for the row `agreement`;
- `twenty`: the query's 20 candidates of the query set in one pass, which no system knows.

Every system begins a document with no page features; its text has been read. Its queries alternate with passes over 20
pages of the document that stay the same: `first` is the ratio of the first query to the first such pass, which encodes
its pages, and `next` that of the medians of all others, which find theirs in memory. No milliseconds are written.

The row `agreement` counts how often `partition` has the same first page as `windows`, of all queries and of those on
which the model is consistent: where `windows` and `backwards` agree on it.

OUT has a row for each system and document, as soon as it is measured, in place of an older one of the same two.
`bundle_id` is the start of the bundle's digest, None for `bm25`, which depends on no model: rows of two bundles are
not put into one table (``bench/long_report.py``).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any

from ziprerank import Pdf, Reranker
from ziprerank.comparison import machine
from ziprerank.first_stage.stage import StageOptions, choose
from ziprerank.first_stage.texts import TextStore
from ziprerank.inputs.page_source import PageSource
from ziprerank.inputs.pages import open_pages

from .documents import located
from .queries import CANDIDATES, QUERIES, Query, drawn, read_queries
from .run import chosen
from .systems import by_document

SHOWN = 5  # pages that are asked for
SYSTEMS = ("twenty", "bm25", "late", "text", "relevance", "partition", "windows", "backwards")
SEED = 22  # of the queries of --sample
AGREEING = {"partition", "windows", "backwards"}
TIMED = ("text", "relevance", "partition", "windows", "backwards")
OPTIONS: dict[str, dict[str, Any]] = {
    "text": {"first_stage": "text"},
    "relevance": {"first_stage": "relevance"},
    "partition": {"first_stage": "none", "strategy": "partition"},
    "windows": {"first_stage": "none", "strategy": "windows"},
    "backwards": {"first_stage": "none", "strategy": "windows"},
}


@dataclass(slots=True)
class Found:
    """One system on one document.

    Attributes:
        pages: of the document.
        ranks: of the right pages, from 1; None where it is not among those shown.
        passes: of each query.
        ms: of each query.
        base_ms: of the pass over the same 20 pages that followed it; empty where no times are compared.
        best: the page that each query has first.
    """

    pages: int
    ranks: list[int | None] = field(default_factory=list)
    passes: list[int] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)
    base_ms: list[float] = field(default_factory=list)
    best: list[int] = field(default_factory=list)


Ranker = Callable[[Query], tuple[Sequence[int], int]]
"""Returns pages, 0-based and best first, and the number of passes."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Ranks document by document and writes each row when it is known."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.quality.whole", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="rows, one JSON object a line; added to")
    parser.add_argument("--documents", type=Path, required=True, help="folder of the PDFs")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), help="default: all")
    parser.add_argument("--only", nargs="+", help="names of the documents; default: all")
    parser.add_argument("--sample", type=int, help=f"queries of each document, drawn with seed {SEED}; default: all")
    parser.add_argument("--bundle", type=Path, help="default: the one in the package")
    parser.add_argument("--threads", type=int, default=0, help="of the engine; default 0, as many as CPUs")
    options = parser.parse_args(arguments)
    queries = [
        query
        for query in sampled(chosen(read_queries(QUERIES), None), options.sample)
        if options.only is None or query.document in options.only
    ]
    about = {"what": "whole", "sample": options.sample, "threads": options.threads, **machine.describe()}
    with Reranker.from_bundle(options.bundle, threads=options.threads) as reranker:
        bundle_id = reranker.bundle.bundle_id[:12]

        def write(system: str, file: Path, figures: Mapping[str, Any]) -> None:
            own = {"bundle_id": None if system == "bm25" else bundle_id}
            add(options.out, {"system": system, "document": file.name, **figures, **own, **about})

        for file, asked in by_document(queries, options.documents, located):
            found: dict[str, Found] = {}
            for system in options.systems:
                found[system] = measured(system, reranker, file, asked)
                write(system, file, described(found[system]))
            if found.keys() >= AGREEING:
                write("agreement", file, agreement(found))


def add(out: Path, row: Mapping[str, Any], same: Sequence[str] = ("system", "document")) -> None:
    """Writes a row to the file, in place of one that has the ``same`` values."""
    lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    names = [row[name] for name in same]
    rest = [line for line in lines if [json.loads(line).get(name) for name in same] != names]
    out.write_text("".join(f"{line}\n" for line in [*rest, json.dumps(row)]), encoding="utf-8")
    print(json.dumps(row), flush=True)


def sampled(queries: Sequence[Query], count: int | None) -> list[Query]:
    """Returns ``count`` queries of each document, drawn with `SEED` and in their order; all for None."""
    found: list[Query] = []
    for name in dict.fromkeys(query.document for query in queries):
        own = [query for query in queries if query.document == name]
        found += own if count is None else drawn(own, count, f"{SEED} {name}")
    return found


def measured(system: str, reranker: Reranker, file: Path, asked: Sequence[Query]) -> Found:
    """Ranks one document's queries by one system."""
    base = reranker.for_owner(f"beside {system} {file.name}")
    same = Pdf(file, [page + 1 for page in sorted(asked[0].candidates)])
    with open_pages(file, reranker.bundle.image) as sources:
        rank = ranker_of(system, reranker, file, sources)
        result = Found(len(sources))
        for query in asked:
            begun = perf_counter()
            order, passes = rank(query)
            ended = perf_counter()
            result.ms.append((ended - begun) * 1e3)
            if system in TIMED:
                base.rank(query.query, same, SHOWN, first_stage="none")
                result.base_ms.append((perf_counter() - ended) * 1e3)
            result.ranks.append(order.index(query.page) + 1 if query.page in order else None)
            result.best.append(order[0])
            result.passes.append(passes)
    return result


def ranker_of(system: str, reranker: Reranker, file: Path, sources: Sequence[PageSource]) -> Ranker:
    """Returns the system on one opened document, its text read where the system needs it."""
    own = reranker.for_owner(f"{system} {file.name}")
    if system == "bm25":
        store, stage = TextStore(), StageOptions("text", CANDIDATES)

        def by_words(query: Query) -> tuple[Sequence[int], int]:
            (choice,) = choose(store, [query.query], sources, range(len(sources)), stage, CANDIDATES)
            return [*choice.chosen, *choice.rest], 0

        choose(store, (), sources, range(len(sources)), stage, CANDIDATES)
        return by_words

    pages = list(reversed(sources)) if system == "backwards" else list(sources)
    place = {id(source): index for index, source in enumerate(sources)}

    def by_tokens(query: Query) -> tuple[Sequence[int], int]:
        ranking = own.rank(query.query, pages, CANDIDATES, first_stage="relevance", candidates=1)
        # the pages that the model has not read follow in the order of the first stage
        return [page.index for page in ranking], 0

    def by_model(query: Query) -> tuple[Sequence[int], int]:
        if system == "twenty":
            given = sorted(query.candidates)
            ranking = own.rank(query.query, Pdf(file, [page + 1 for page in given]), SHOWN, first_stage="none")
            return [given[page.index] for page in ranking], ranking.windows
        ranking = own.rank(query.query, pages, SHOWN, **OPTIONS[system])
        return [place[id(pages[page.index])] for page in ranking], ranking.windows

    if system == "text":
        own.read_texts(sources, first_stage="text")
    return by_tokens if system == "late" else by_model


def agreement(found: Mapping[str, Found]) -> dict[str, int]:
    """Returns how many queries have the same first page by partition as by windows, of all and of consistent ones."""
    windows, back, split = (found[system].best for system in ("windows", "backwards", "partition"))
    same = [one == other for one, other in zip(windows, split, strict=True)]
    consistent = [one == other for one, other in zip(windows, back, strict=True)]
    return {
        "n": len(same),
        "same_first_page": sum(same),
        "consistent": sum(consistent),
        "same_first_page_where_consistent": sum(both == (True, True) for both in zip(same, consistent, strict=True)),
    }


def described(found: Found) -> dict[str, Any]:
    """Returns recalls, the mean number of passes, and how long queries take as ratios."""
    count = len(found.ranks)
    recall = {
        f"recall@{at}": round(sum(rank is not None and rank <= at for rank in found.ranks) / count, 4)
        for at in (1, SHOWN, CANDIDATES)
    }
    row = {"n": count, "pages": found.pages, **recall, "passes": round(fmean(found.passes), 2)}
    if found.base_ms:
        row["first"] = round(found.ms[0] / found.base_ms[0], 3)
    if len(found.base_ms) > 1:
        row["next"] = round(median(found.ms[1:]) / median(found.base_ms[1:]), 3)
    return row


if __name__ == "__main__":
    main()
