"""Ranks whole manuals: how often the right page is found among all pages, what it takes, and in how many passes.

    python -m bench.quality.whole OUT.jsonl --documents FOLDER [--systems bm25 text partition] [--sample 4]

The systems are

- `bm25`: the first stage alone, BM25 over the text layer (``ziprerank.first_stage``);
- `late`: the other one alone, late interaction of the query with every page;
- `text`, `relevance`: BM25, or late interaction, picks 20 pages, and one pass ranks them;
- `partition` and `windows`: every page goes through the model, by either strategy;
- `backwards`: windows over the pages from the last to the first, for the row `agreement`;
- `twenty`: the query's 20 candidates of the query set in one pass, which no system knows but times are compared with.

Every system begins a document with no page features; its text has been read. `first` is the document's first query, and
`next` the median of the others. Both are divided by those of `twenty` in the same run and are left out without it: no
milliseconds are written.

The row `agreement` counts how often `partition` has the same first page as `windows`, of all queries and of those on
which the model is consistent: where `windows` and `backwards` agree on it.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from .queries import CANDIDATES, QUERIES, Query, read_queries
from .run import chosen
from .systems import by_document

SHOWN = 5  # pages that are asked for
SYSTEMS = ("twenty", "bm25", "late", "text", "relevance", "partition", "windows", "backwards")
SEED = 22  # of the queries of --sample
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
        best: the page that each query has first.
    """

    pages: int
    ranks: list[int | None] = field(default_factory=list)
    passes: list[int] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)
    best: list[int] = field(default_factory=list)


Ranker = Callable[[Query], tuple[Sequence[int], int]]
"""Returns pages, 0-based and best first, and the number of passes."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Ranks document by document and writes the rows, anew after each system on each."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.quality.whole", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="rows, one JSON object a line")
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
    about = {"what": "whole", "sample": options.sample, "seed": SEED, "systems": options.systems, **machine.describe()}
    found: dict[str, dict[str, Found]] = {}
    with Reranker.from_bundle(options.bundle, threads=options.threads) as reranker:
        for file, asked in by_document(queries, options.documents, located):
            for system in options.systems:
                found.setdefault(system, {})[file.name] = measured(system, reranker, file, asked)
                lines = [json.dumps({**row, **about}) + "\n" for row in rows(found)]
                options.out.write_text("".join(lines), encoding="utf-8")
    print(table(list(rows(found))))


def sampled(queries: Sequence[Query], count: int | None) -> list[Query]:
    """Returns ``count`` queries of each document, drawn with `SEED` and in their order; all for None."""
    drawn: list[Query] = []
    for name in dict.fromkeys(query.document for query in queries):
        own = [query for query in queries if query.document == name]
        places = range(len(own)) if count is None else random.Random(f"{SEED} {name}").sample(range(len(own)), count)
        drawn += [own[place] for place in sorted(places)]
    return drawn


def measured(system: str, reranker: Reranker, file: Path, asked: Sequence[Query]) -> Found:
    """Ranks one document's queries by one system."""
    with open_pages(file, reranker.bundle.image) as sources:
        rank = ranker_of(system, reranker, file, sources)
        result = Found(len(sources))
        for query in asked:
            begun = perf_counter()
            order, passes = rank(query)
            result.ms.append((perf_counter() - begun) * 1e3)
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


def rows(found: dict[str, dict[str, Found]]) -> Iterator[dict[str, Any]]:
    """Yields a row for each system and document, and one for all documents."""
    for system, documents in found.items():
        for name, parts in [*((name, [name]) for name in documents), ("all", list(documents))]:
            ours = [documents[part] for part in parts]
            row = {"system": system, "document": name, **measures(ours)}
            if system != "twenty" and name != "all" and name in found.get("twenty", {}):
                base = found["twenty"][name]
                row["first"] = round(ours[0].ms[0] / base.ms[0], 3)
                if len(base.ms) > 1:
                    row["next"] = round(median(ours[0].ms[1:]) / median(base.ms[1:]), 3)
            yield row
    if {"partition", "windows", "backwards"} <= found.keys():
        yield {"system": "agreement", "document": "all", **agreement(found)}


def agreement(found: Mapping[str, Mapping[str, Found]]) -> dict[str, Any]:
    """Returns how many queries have the same first page by partition as by windows, of all and of consistent ones."""
    same = {True: [0, 0], False: [0, 0]}  # by consistency: agreeing queries, and all
    for name, windows in found["windows"].items():
        if name not in found["partition"] or name not in found["backwards"]:
            continue
        others = found["partition"][name].best, found["backwards"][name].best
        for best, split, back in zip(windows.best, *others, strict=True):
            same[back == best][0] += split == best
            same[back == best][1] += 1
    (consistent, of), (others_same, others_of) = same[True], same[False]
    return {
        "n": of + others_of,
        "same_first_page": consistent + others_same,
        "consistent": of,
        "same_first_page_where_consistent": consistent,
    }


def measures(parts: Sequence[Found]) -> dict[str, Any]:
    """Returns recalls and passes over the queries of some documents."""
    ranks = [rank for part in parts for rank in part.ranks]
    recall = {
        f"recall@{at}": round(sum(rank is not None and rank <= at for rank in ranks) / len(ranks), 4)
        for at in (1, SHOWN, CANDIDATES)
    }
    passes = [count for part in parts for count in part.passes]
    return {"n": len(ranks), "pages": sum(part.pages for part in parts), **recall, "passes": round(fmean(passes), 2)}


def table(found: Sequence[dict[str, Any]]) -> str:
    """Returns the rows as a Markdown table. Recall@20 is that of a first stage alone: the others show five pages."""
    recalls = ("recall@1", f"recall@{SHOWN}", f"recall@{CANDIDATES}")
    names = ("system", "document", "pages", "n", *recalls, "passes", "first", "next")
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    for row in found:
        shown = dict(row)
        if row["system"] not in ("bm25", "late"):
            shown.pop(f"recall@{CANDIDATES}", None)
        lines.append(f"| {' | '.join(str(shown.get(name, '')) for name in names)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
