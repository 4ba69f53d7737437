"""``ziprerank profile``: where the time of a ranking goes, as a trace and as two tables."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ziprerank.cli.options import Files, Pages, Password, show_notes, with_engine_options
from ziprerank.cli.ranking_options import RankingOptions, with_ranking_options
from ziprerank.errors import InvalidInput
from ziprerank.runtime.engine import EngineOptions


@with_engine_options()
@with_ranking_options()
def profile(
    files: Files,
    *,
    query: Annotated[str, typer.Option(help="What to look for.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The trace to write, for ui.perfetto.dev.")],
    runs: Annotated[int, typer.Option(help="Rankings; from the second on all pages are in memory.")] = 3,
    top_k: Annotated[int | None, typer.Option(help="How many pages are asked for; a strategy may go by it.")] = None,
    options: RankingOptions,
    pages: Pages = None,
    password: Password = None,
    nvtx: Annotated[bool, typer.Option("--nvtx", help="Stages as NVTX ranges too, for Nsight Systems.")] = False,
    engine: EngineOptions,
) -> None:
    """Record a few rankings: a Chrome trace with every stage and node, and where the time went."""
    from ziprerank.inputs.pages import with_pdf_options
    from ziprerank.profiling.record import record
    from ziprerank.profiling.summary import operator_table, stage_table
    from ziprerank.profiling.trace import chrome_trace

    folder = out.absolute().parent
    if not folder.is_dir():
        raise InvalidInput(f"{out}: there is no folder {folder}, make it first")
    if out.is_dir() or not os.access(out if out.exists() else folder, os.W_OK):
        raise InvalidInput(f"{out} cannot be written: name a file in a folder that you may write")
    found = record(
        query,
        [with_pdf_options(file, pages, password) for file in files],
        engine,
        runs=runs,
        nvtx=nvtx,
        top_k=top_k,
        **options,
    )
    about = {name: found.info[name] for name in ("provider", "device", "precision", "runtime_version", "threads")}
    trace = chrome_trace(found.slices, found.thread_names, {**about, "query": query})
    show_notes(found.rankings[-1].warnings, found.rankings[-1].skipped)
    console = Console()
    for table in (stage_table(found), operator_table(found)):
        console.print(table)
        console.print()
    try:
        out.write_text(json.dumps(trace), encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{out} cannot be written: {error}") from error
    console.print(f"{escape(str(out))}: open it at ui.perfetto.dev", style="dim", soft_wrap=True)
