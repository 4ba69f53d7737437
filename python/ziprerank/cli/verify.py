"""``ziprerank verify``: how a bundle compares with its checkpoint (extra ``verify``), or with a bundle in fp32.

With a data set in their place it measures whether the bundle's relevance ranks.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ziprerank.cli.extras import needs_extra
from ziprerank.cli.options import Provider, Queries, Threads
from ziprerank.errors import InvalidInput


def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle to check.")],
    reference: Annotated[
        Path, typer.Argument(help="The checkpoint directory that it came from, an fp32 bundle, or a data set of PDFs.")
    ],
    *,
    on: Annotated[
        list[Path] | None, typer.Option(help="PDFs and images to compare rankings on; may be repeated.")
    ] = None,
    query: Queries = None,
    provider: Provider = "cpu",
    threads: Threads = 0,
    as_json: Annotated[bool, typer.Option("--json", help="What was written into the bundle, as JSON.")] = False,
) -> None:
    """Write into a bundle how it compares with its checkpoint, or with an fp32 bundle of it.

    With a checkpoint: parity of an fp32 bundle with transformers. With an fp32 bundle: how well the rankings of the two
    agree, on random pages and on those given; --provider and --threads say how BUNDLE runs. With a data set, which is
    a queries.jsonl beside its PDFs: whether late interaction finds the right pages of whole documents, so that
    first_stage "auto" may go by it.
    """
    if (reference / "ziprerank.json").is_file():
        with needs_extra("export"):
            result = _agreement(bundle, reference, on or [], query or [], provider=provider, threads=threads)
    elif (reference / "queries.jsonl").is_file():
        if on or query:
            raise InvalidInput("--on and --query are for comparing rankings with an fp32 bundle: leave them out")
        with needs_extra("export,eval"):
            from ziprerank.cli.relevance_check import check_relevance

            result = check_relevance(bundle, reference, provider=provider, threads=threads)
    elif on or query:
        raise InvalidInput(f"{reference} is no bundle: --on and --query are for comparing rankings with an fp32 bundle")
    else:
        with needs_extra("verify"):
            from ziprerank.export.verify import verify_bundle

            result = verify_bundle(bundle, reference)
    if as_json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False, indent=2) + "\n")
    else:
        Console().print(_rows(result) if "rows" in result else _pairs(result))


def _agreement(
    bundle: Path, reference: Path, files: list[Path], queries: list[str], *, provider: str, threads: int
) -> dict[str, Any]:
    from ziprerank.bundle import Bundle
    from ziprerank.cli.bundle_comparison import compare_bundles, read_pages
    from ziprerank.export.agreement import check_comparable, record
    from ziprerank.export.samples import QUERIES, SIZES, page_image
    from ziprerank.runtime.onnxruntime import find_runtime
    from ziprerank.windows import MAX_WINDOW

    if files and not queries:
        raise InvalidInput("no query for the pages of --on: give --query, as often as you like")
    check_comparable(bundle, reference)
    opened = Bundle.load(bundle, check="size")
    drawn = [page_image(number, SIZES[number % len(SIZES)]) for number in range(MAX_WINDOW)]
    sets = {"random": drawn, **read_pages(files, opened.image)}
    rows = compare_bundles(reference, bundle, sets, queries or QUERIES, provider=provider, threads=threads)
    return record(bundle, reference, f"onnxruntime {find_runtime().version}, {provider}", rows)


def _pairs(certificate: dict[str, Any]) -> Table:
    table = Table(title="relevance" if "ranks" in certificate else "parity certificate", show_header=False)
    for key, value in certificate.items():
        table.add_row(key, str(value))
    return table


def _rows(report: dict[str, Any]) -> Table:
    table = Table(title=f"{report['precision']}: agreement with fp32")
    columns = ("pages", "keep_ratio", "passes", "kendall_tau", "top1", "max_logit_error", "kept_overlap")
    for name in columns:
        table.add_column(name.replace("_", " "), justify="left" if name == "pages" else "right")
    for row in report["rows"]:
        table.add_row(*(str(row[name]) for name in columns))
    return table
