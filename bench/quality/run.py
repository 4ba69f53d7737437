"""Measures how often the right page is ranked first, on real documents that no training saw.

    python -m bench.quality.fetch FOLDER
    python -m bench.quality OUT.jsonl --documents FOLDER [--bundle B...] [--keep-ratio 1 0.5 0.25]

The engine's rankings, measures and intervals are those of ``ziprerank eval`` (``ziprerank.evaluation``), which ranks
the same folder alone; this program adds several bundles, scans, OCR, towers, and rows by kind of query. BM25 counts
words over the whole document here, over a query's candidates there.

The systems are chance, BM25 on the true text, every bundle at every keep ratio through ``ziprerank.Reranker``, and with
``--towers`` the vision towers of checkpoints by late interaction (bench/quality/late.py; needs PyTorch).
With ``--encoder`` a sentence encoder ranks by the true text (bench/quality/encoder.py; needs PyTorch).
With ``--ocr`` RapidOCR or Tesseract, which must be installed, read the pages for BM25 (bench/quality/ocr.py).
With ``--scans`` bundles, OCR and towers read scans of these pages (bench/quality/scans.py); plain BM25 still reads the
true text.
With ``--fuse WEIGHT`` each of them but chance is also ranked together with BM25 on the true text
(bench/quality/fusion.py).

Each system has one row over all queries, one per document and one per kind of query.
A row holds recall at 1, 3 and 5, the mean reciprocal rank, and Wilson's 95 % interval of recall@1.
It also holds the differences in recall@1 to BM25 and to the first bundle at the first keep ratio, with 95 % intervals
by a paired bootstrap.
Rows are written as soon as a bundle is done.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ziprerank import Reranker
from ziprerank.bundle import default_bundle
from ziprerank.comparison import machine
from ziprerank.evaluation.measures import wilson
from ziprerank.windows import WindowOption

from . import metrics
from .documents import located, scan_of
from .fusion import fused
from .ocr import ocr_bm25, reader_of
from .queries import KINDS, QUERIES, Query, read_queries
from .report import summary
from .systems import Locate, Run, bm25, by_document, ziprerank

KEEP_RATIOS = (1.0, 0.5, 0.25)


def main(arguments: Sequence[str] | None = None) -> None:
    """Ranks and writes the rows."""
    options = parse(arguments)
    queries = chosen(about(read_queries(options.queries), options.only), options.limit)
    pages = (options.documents, located) if options.scans is None else (options.scans, scan_of)
    for folder, locate in ((options.documents, located), pages):
        for _ in by_document(queries, folder, locate):
            pass  # raises for a missing document before anything runs
    common = {
        "what": "quality",
        "queries": options.queries.name,
        "limit": options.limit,
        **machine.describe(),
        "provider": options.provider,
        "pages": "as they are" if options.scans is None else "scanned",
    }
    rows = list(chance_rows(queries))
    done: list[Run] = []
    for runs in run_all(options, queries, *pages):
        both = [] if options.fuse is None or not done else [fused(done[0], run, queries, options.fuse) for run in runs]
        for run in [*runs, *both]:
            rows += rows_of(run, done[:2], queries)
            done.append(run)
        options.out.write_text("".join(json.dumps({**row, **common}) + "\n" for row in rows), encoding="utf-8")
        if options.ranks is not None:
            write_ranks(options.ranks, done, queries)
    print(summary(rows))


def run_all(options: argparse.Namespace, queries: Sequence[Query], pages: Path, locate: Locate) -> Iterator[list[Run]]:
    """Yields the runs of BM25, then of each bundle at all keep ratios, of the encoders, OCRs and towers."""
    yield [bm25(queries, options.documents)]
    for bundle in options.bundle:
        reranker = Reranker.from_bundle(bundle, provider=options.provider, threads=options.threads, blank=options.blank)
        yield ziprerank(reranker, queries, pages, options.keep_ratio, options.window, locate)
    if options.encoder is not None:
        from .encoder import by_encoder

        for folder in options.encoder or [None]:
            yield [by_encoder(queries, options.documents, folder)]
    for name in options.ocr:
        yield [ocr_bm25(name, reader_of(name), queries, pages, locate)]
    for checkpoint in options.towers:
        from .late import late_interaction

        yield [late_interaction(checkpoint, queries, pages, locate)]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="rows, one JSON object a line")
    parser.add_argument("--documents", type=Path, required=True, help="folder of the PDFs")
    parser.add_argument("--scans", type=Path, help="folder of scans of them to rank, see python -m bench.quality.scans")
    parser.add_argument(
        "--bundle", type=Path, nargs="*", help="bundles; default: the one in the package; with no path: none"
    )
    parser.add_argument(
        "--towers", type=Path, nargs="*", default=[], help="checkpoints to rank with by late interaction"
    )
    parser.add_argument(
        "--encoder", type=Path, nargs="*", help="folders of sentence encoders; with no path: all-MiniLM-L6-v2's package"
    )
    parser.add_argument(
        "--fuse",
        type=float,
        metavar="WEIGHT",
        help="every system also together with BM25 on the true text, with this weight beside its one less",
    )
    parser.add_argument(
        "--ocr", nargs="*", default=[], choices=("rapidocr", "tesseract"), help="OCRs that read the pages for BM25"
    )
    parser.add_argument("--keep-ratio", type=float, nargs="+", default=list(KEEP_RATIOS), help="default: 1 0.5 0.25")
    parser.add_argument(
        "--window", type=window_option, default="auto", help="pages a pass, 'auto' (the bundle's, default) or 'off'"
    )
    parser.add_argument(
        "--blank", choices=("drop", "keep"), help="visual tokens of blank paper; default: as each bundle recommends"
    )
    parser.add_argument("--only", nargs="+", help="names of the documents; default: all of the queries'")
    parser.add_argument("--limit", type=int, help="queries of each document; default: all")
    parser.add_argument("--queries", type=Path, default=QUERIES, help="default: the committed set")
    parser.add_argument("--ranks", type=Path, help="file for the rank of every query's page, one JSON object a line")
    parser.add_argument("--provider", default="cpu", help="execution provider of ONNX Runtime; default cpu")
    parser.add_argument("--threads", type=int, default=0, help="of the engine; default 0, ONNX Runtime chooses")
    options = parser.parse_args(arguments)
    if options.bundle is None:
        options.bundle = [default_bundle()]
    if options.limit is not None and options.limit < 1:
        parser.error(f"--limit {options.limit}: must be at least 1")
    return options


def window_option(text: str) -> WindowOption:
    """Parses ``--window``. Raises ValueError, which argparse reports."""
    if text == "auto":
        return "auto"
    return "off" if text == "off" else int(text)


def about(queries: Sequence[Query], only: Sequence[str] | None) -> Sequence[Query]:
    """Returns the queries about some documents, all for None. Raises SystemExit for a document that none is about."""
    names = {query.document for query in queries}
    for name in only or ():
        if name not in names:
            raise SystemExit(f"--only {name}: the queries are about {', '.join(sorted(names))}")
    return [query for query in queries if only is None or query.document in only]


def chosen(queries: Sequence[Query], limit: int | None) -> list[Query]:
    """Returns the first ``limit`` queries of each document (all for None), one document after another."""
    documents = dict.fromkeys(query.document for query in queries)
    return [query for name in documents for query in [query for query in queries if query.document == name][:limit]]


def groups(queries: Sequence[Query]) -> Iterator[tuple[str, str, list[int]]]:
    """Yields (document, kind, positions of their queries) for all queries, each document and each kind."""
    yield "all", "all", list(range(len(queries)))
    for name in dict.fromkeys(query.document for query in queries):
        yield name, "all", [at for at, query in enumerate(queries) if query.document == name]
    for kind in KINDS:
        held = [at for at, query in enumerate(queries) if query.kind == kind]
        if held:
            yield "all", kind, held


def chance_rows(queries: Sequence[Query]) -> Iterator[dict[str, Any]]:
    """Yields the expected metrics of a random order, which have no interval."""
    for document, kind, held in groups(queries):
        values = metrics.chance([len(queries[at].candidates) for at in held])
        yield {
            **Run("chance").settings(),
            "document": document,
            "kind": kind,
            "n": len(held),
            **{name: round(value, 4) for name, value in values.items()},
        }


def rows_of(run: Run, others: Sequence[Run], queries: Sequence[Query]) -> Iterator[dict[str, Any]]:
    """Yields one system's rows, each compared with the same queries of ``others``."""
    for document, kind, held in groups(queries):
        ranks = [run.ranks[at] for at in held]
        low, high = wilson(sum(rank == 1 for rank in ranks), len(ranks))
        row = {
            **run.settings(),
            "document": document,
            "kind": kind,
            "n": len(held),
            **{name: round(value, 4) for name, value in metrics.means(ranks).items()},
            "recall@1_interval": [round(low, 4), round(high, 4)],
        }
        if run.page_ms is not None:
            row["page_ms"] = round(run.page_ms, 1)
        row["differences"] = [compared(run, other, queries, held) for other in others]
        yield row


def compared(run: Run, other: Run, queries: Sequence[Query], held: Sequence[int]) -> dict[str, Any]:
    """Returns recall@1 of ``run`` less that of ``other`` for the queries at ``held``, with its interval."""
    ours, theirs = ([one.ranks[at] for at in held] for one in (run, other))
    mean, low, high = metrics.difference(ours, theirs, [queries[at].document for at in held])
    return {"to": other.settings(), "recall@1": round(mean, 4), "interval": [round(low, 4), round(high, 4)]}


def write_ranks(file: Path, runs: Sequence[Run], queries: Sequence[Query]) -> None:
    """Writes every query with the rank of its page by each system."""
    lines = [
        json.dumps(
            {
                **run.settings(),
                "document": query.document,
                "query": query.query,
                "kind": query.kind,
                "page": query.page,
                "rank": rank,
            },
            ensure_ascii=False,
        )
        + "\n"
        for run in runs
        for query, rank in zip(queries, run.ranks, strict=True)
    ]
    file.write_text("".join(lines), encoding="utf-8")
