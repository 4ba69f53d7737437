"""What a query over a very long document takes, against 20 of its pages, and the most memory that it needs.

    python -m bench.quality.long OUT.jsonl --documents FOLDER --case text --pages 1000
    python -m bench.quality.long OUT.jsonl --documents FOLDER --case scans --pages 300

`text` is the manuals one after another, cut to ``--pages`` pages; BM25 picks 20 pages, whose text has been read.
`scans` is that document as a scanner writes it (``bench.quality.scans``), of which relevance picks 20.
The best five pages are asked for.

Both are compared with a PDF of 20 of the document's pages: once with ``fresh`` ones for each query, its candidates in
the query set, and once with the ``same`` pages for all queries. Queries of the two sides alternate, and no milliseconds
are written. `first` is the ratio of first queries, `next` that of the medians of all others.
Memory is the peak, in MiB, of a process that ranks the queries over the document alone, and that of its page workers,
on Linux only; libraries that they share count in each.

OUT has a row for each case and number of pages, in place of an older one of the same two. `bundle_id` is the start of
the bundle's digest: rows of two bundles are not put into one table (``bench/long_report.py``).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import pypdfium2 as pdfium  # type: ignore[import-untyped]
from ziprerank import Pdf, Reranker
from ziprerank.comparison import machine
from ziprerank.inputs.pages import open_pages
from ziprerank.inputs.workers.pool import pool
from ziprerank.runtime.memory import peak_bytes

from .documents import DOCUMENTS, located
from .queries import QUERIES, Query, drawn, read_queries
from .scans import scan_document
from .whole import add

SEED = 22
SHOWN = 5
STAGES = {"text": "text", "scans": "relevance"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures one case in this process, and writes its row."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.quality.long", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="rows, one JSON object a line; added to")
    parser.add_argument("--documents", type=Path, required=True, help="folder of the PDFs")
    parser.add_argument("--case", choices=list(STAGES), required=True)
    parser.add_argument("--pages", type=int, required=True, help="of the document")
    parser.add_argument("--queries", type=int, default=8, help="default: 8")
    parser.add_argument("--bundle", type=Path, help="default: the one in the package")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "long.pdf"
        queries = drawn(joined(options.documents, options.pages, file), options.queries, SEED)
        if options.case == "scans":
            scan_document(file, range(options.pages), file.with_name("scans.pdf"))
            file = file.with_name("scans.pdf")
        given = (options.case, file, queries, options.bundle)
        row = {"what": "long", "case": options.case, "pages": options.pages, **measured(*given)}
        row["peak_mib"] = most_memory(*given)
    add(options.out, {**row, **machine.describe()}, ("case", "pages"))


def joined(folder: Path, pages: int, out: Path) -> list[Query]:
    """Writes the first ``pages`` pages of all manuals as one PDF; returns the queries that are about those alone."""
    found, base = [], 0
    queries = read_queries(QUERIES)
    whole = pdfium.PdfDocument.new()
    for document in DOCUMENTS:
        with pdfium.PdfDocument(located(folder, document.name)) as part:
            count = min(len(part), pages - base)
            if count > 0:
                whole.import_pages(part, list(range(count)))
        for query in queries:
            if query.document == document.name and max(query.candidates) < count:
                places = tuple(base + place for place in query.candidates)
                found.append(Query(out.name, query.query, query.kind, base + query.page, places))
        base += count
    whole.save(out)
    if base < pages:
        raise SystemExit(f"the manuals have {base} pages, fewer than {pages}")
    return found


def measured(case: str, file: Path, queries: Sequence[Query], bundle: Path | None) -> dict[str, Any]:
    """Ranks the queries over the document and over 20 of its pages, in turn."""
    ms: dict[str, list[float]] = {"long": [], "fresh": [], "same": []}
    found: list[bool] = []
    with Reranker.from_bundle(bundle) as reranker, open_pages(file, reranker.bundle.image) as sources:
        own = {name: reranker.for_owner(name) for name in ms}
        if case == "text":
            own["long"].read_texts(sources, first_stage="text")
        for query in queries:
            ranking = timed(
                ms["long"],
                lambda: own["long"].rank(query.query, list(sources), SHOWN, first_stage=STAGES[case]),  # type: ignore[arg-type]  # noqa: B023
            )
            assert ranking.first_stage == STAGES[case], ranking.first_stage
            found.append(query.page in {page.index for page in ranking})
            for name, pages in (("fresh", query.candidates), ("same", queries[0].candidates)):
                some = Pdf(file, [page + 1 for page in sorted(pages)])
                timed(ms[name], lambda: own[name].rank(query.query, some, SHOWN, first_stage="none"))  # noqa: B023
    return {
        "stage": STAGES[case],
        "bundle_id": reranker.bundle.bundle_id[:12],
        "n": len(queries),
        "recall@5": round(sum(found) / len(found), 4),
        **{f"first_to_{name}": round(ms["long"][0] / ms[name][0], 3) for name in ("fresh", "same")},
        **{f"next_to_{name}": round(median(ms["long"][1:]) / median(ms[name][1:]), 3) for name in ("fresh", "same")},
    }


def timed(into: list[float], body: Callable[[], Any]) -> Any:
    """Runs ``body`` and notes its milliseconds."""
    begun = perf_counter()
    result = body()
    into.append((perf_counter() - begun) * 1e3)
    return result


def most_memory(case: str, file: Path, queries: Sequence[Query], bundle: Path | None) -> dict[str, int]:
    """Returns the most MiB that ranking over the document needs, of a process that does nothing else."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        return executor.submit(peaks_of, case, file, queries, bundle).result()


def peaks_of(case: str, file: Path, queries: Sequence[Query], bundle: Path | None) -> dict[str, int]:
    """Ranks over the document and returns the peaks, in MiB, of this process and of its page workers together."""
    with Reranker.from_bundle(bundle) as reranker, open_pages(file, reranker.bundle.image) as sources:
        for query in queries:
            reranker.rank(query.query, list(sources), SHOWN, first_stage=STAGES[case])  # type: ignore[arg-type]
        found = {"process": peak_bytes(), "workers": sum(map(peak_bytes, pool().pids()))}
    return {name: held >> 20 for name, held in found.items()}


if __name__ == "__main__":
    main()
