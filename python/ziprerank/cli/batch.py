"""``ziprerank batch``: a folder or a table of queries and documents, ranked by several processes or on Ray."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from ziprerank.batch import ROW_TIMEOUT
from ziprerank.cli.extras import needs_extra
from ziprerank.cli.options import Password, progress_bar, with_engine_options
from ziprerank.cli.ranking_options import RankingOptions, with_ranking_options
from ziprerank.errors import InvalidInput
from ziprerank.runtime.cpus import usable_cpus
from ziprerank.runtime.engine import EngineOptions


@with_engine_options()
@with_ranking_options()
def batch(
    source: Annotated[
        Path, typer.Argument(help="A .parquet or .jsonl file of queries and documents, or a folder of PDFs and images.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder for the part files; a job that was cut off goes on there.")],
    *,
    query: Annotated[list[str] | None, typer.Option(help="For a folder: what to look for; may be repeated.")] = None,
    queries: Annotated[Path | None, typer.Option(help="For a folder: a text file with a query on each line.")] = None,
    output: Annotated[Literal["parquet", "jsonl"], typer.Option(help="What part files are.")] = "parquet",
    top_k: Annotated[int | None, typer.Option(help="Write only the best pages of a row.")] = None,
    options: RankingOptions,
    password: Password = None,
    id_column: Annotated[str, typer.Option(help="Names a row; without it a digest of the row does.")] = "id",
    query_column: Annotated[str, typer.Option(help="The query.")] = "query",
    documents_column: Annotated[
        str, typer.Option(help="A path, bytes, or a list of these; paths are seen from the table's folder.")
    ] = "documents",
    pages_column: Annotated[str, typer.Option(help="Pages of the row's PDFs: '1-20'.")] = "pages",
    workers: Annotated[int, typer.Option(help="Processes, or actors on Ray; each holds the model.")] = 1,
    part_rows: Annotated[int, typer.Option(help="Rows of a part file; after a minute it is written anyway.")] = 1000,
    retry_errors: Annotated[bool, typer.Option(help="Rank the rows again that have an error.")] = False,
    rerank_changed: Annotated[
        bool,
        typer.Option(help="Rank the rows again whose query, documents or pages changed; without it they are refused."),
    ] = False,
    bad_rows: Annotated[
        Literal["keep", "refuse"],
        typer.Option(help="Rows that are no JSON or lack a column: written with their errors, or end the job at once."),
    ] = "keep",
    row_timeout: Annotated[
        float, typer.Option(help="Most seconds for a row, which then gets an error; 0 is no limit.")
    ] = ROW_TIMEOUT,
    ray: Annotated[
        str | None,
        typer.Option(help="Run on Ray: 'auto' for this machine's cluster, ray://HOST:10001, or 'local' to start it."),
    ] = None,
    gpus_per_worker: Annotated[float, typer.Option(help="On Ray: 0.5 lets two actors share a GPU.")] = 0,
    engine: EngineOptions,
) -> None:
    """Rank every row of SOURCE and write exactly one row for it into the folder OUT.

    Run the same command again after it was cut off, even by kill -9: rows that are in OUT are not ranked again. A row
    that cannot be ranked is written with its error. With --threads 0 the workers share the CPUs out.
    """
    with needs_extra("batch"):
        from ziprerank.batch.job import job_of, run_job
        from ziprerank.batch.parts import Output
        from ziprerank.batch.ranking import Ranker
        from ziprerank.batch.ray_data import rank_on_ray
        from ziprerank.batch.rows import Columns, read_rows
        from ziprerank.batch.workers import rank_locally

    if workers < 1:
        raise InvalidInput(f"{workers} workers: at least 1 is needed")
    if gpus_per_worker and ray is None:
        raise InvalidInput("--gpus-per-worker is for Ray: give --ray too, or choose a GPU with --provider cuda:N")
    each = engine.threads or max(1, usable_cpus() // workers)
    worker_engine = replace(engine, threads=each)
    ranker = Ranker(worker_engine, top_k, password=password, row_timeout=row_timeout or None, **options)
    rows = read_rows(
        source,
        [*(query or ()), *_lines(queries)],
        Columns(id_column, query_column, documents_column, pages_column),
        bad_rows,
    )
    run = partial(rank_locally, ranker=ranker, workers=workers)
    if ray is not None:
        run = partial(rank_on_ray, ranker=ranker, workers=workers, address=ray, cpus=each, gpus=gpus_per_worker)
    with Output(out, job_of(ranker), kind=output, part_rows=part_rows) as part_files, progress_bar("ranking") as report:
        if retry_errors:
            part_files.drop_errors()
        summary = run_job(rows, part_files, run, lambda done: report(done, None), rerank_changed=rerank_changed)
    told = f"{out}: {summary.rows:,} rows, {summary.ranked:,} of them ranked now, {summary.errors:,} with an error"
    if summary.left:
        told += f"; {source} does not have {summary.left:,} of them any more"
    Console(soft_wrap=True, highlight=False).print(told, markup=False)


def _lines(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read: {error}") from error
    return [line.strip() for line in text.split("\n") if line.strip()]
