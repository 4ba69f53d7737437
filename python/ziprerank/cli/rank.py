"""``ziprerank rank``: the pages of PDFs and images, ordered by relevance to a query."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ziprerank.cli.options import (
    PASSWORD_WAY_HERE,
    BadPages,
    BudgetMs,
    Candidates,
    Files,
    Instruction,
    KeepRatio,
    Pages,
    Password,
    Query,
    Stage,
    Strategies,
    Stride,
    TopK,
    Window,
    parse_window,
    ranking_bar,
    show_notes,
    with_engine_options,
)
from ziprerank.errors import said_for
from ziprerank.ranking import Ranking
from ziprerank.runtime.engine import EngineOptions


@with_engine_options()
def rank(
    query: Query,
    files: Files,
    *,
    top_k: TopK = None,
    keep_ratio: KeepRatio = None,
    window: Window = "auto",
    stride: Stride = None,
    strategy: Strategies = "auto",
    first_stage: Stage = "auto",
    candidates: Candidates = None,
    instruction: Instruction = None,
    pages: Pages = None,
    password: Password = None,
    on_bad_page: BadPages = "raise",
    budget_ms: BudgetMs = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON: page counts from 1 (null for an image), kept and tokens are counts.")
    ] = False,
    engine: EngineOptions,
) -> None:
    """Rank the pages of FILES by their relevance to QUERY."""
    from ziprerank.inputs.pages import with_pdf_options
    from ziprerank.reranker import Reranker

    reranker = Reranker.from_options(engine)
    with ranking_bar() as report:
        ranking = reranker.rank(
            query,
            [with_pdf_options(file, pages, password) for file in files],
            top_k,
            keep_ratio=keep_ratio,
            window=parse_window(window),
            stride=stride,
            strategy=strategy,
            first_stage=first_stage,
            candidates=candidates,
            instruction=instruction,
            on_bad_page=on_bad_page,
            budget_ms=budget_ms,
            progress=report,
        )
    if as_json:
        told = ranking.to_dict()
        for note in told["skipped"]:
            note["text"] = said_for(note["text"], PASSWORD_WAY_HERE)
        sys.stdout.write(json.dumps(told, ensure_ascii=False, indent=2) + "\n")
    else:
        show_ranking(ranking)
    show_notes(ranking)


def show_ranking(ranking: Ranking) -> None:
    """Prints the ranking as a table, and below it what it took."""
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("rank", justify="right")
    table.add_column("page", overflow="fold")
    for name in ("probability", "score", "kept"):
        table.add_column(name, justify="right", no_wrap=True)
    for page in ranking:
        table.add_row(
            str(page.rank),
            escape(page.label),
            f"{page.probability:.3f}",
            f"{page.score:.2f}",
            f"{len(page.kept)} of {page.tokens}" if page.passes else "not read",
        )
    console.print(table)
    timings, tokens = ranking.timings, ranking.tokens
    passes = "1 pass" if ranking.windows == 1 else f"{ranking.windows} passes ({ranking.strategy})"
    picked = (
        ""
        if ranking.first_stage == "none"
        else f", of which {ranking.first_stage.replace('+', ' and ')} picked those to read,"
    )
    console.print(
        f"\n{ranking.pages} pages{picked} in {passes}, {timings.total / 1e3:.2f} s "
        f"(vision {timings.vision / 1e3:.2f}, rerank {timings.rerank / 1e3:.2f}); "
        f"{tokens.kept:,} of {tokens.visual:,} visual tokens kept"
        + (f", {tokens.blank:,} were blank" if tokens.blank else ""),
        style="dim",
        highlight=False,
        soft_wrap=True,
    )
    if ranking.budget is not None:
        console.print(str(ranking.budget), style="dim", highlight=False, soft_wrap=True)
