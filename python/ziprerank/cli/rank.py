"""``ziprerank rank``: the pages of PDFs and images, ordered by relevance to a query."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ziprerank.cli.options import (
    Files,
    Pages,
    Password,
    Query,
    TopK,
    print_json,
    ranking_bar,
    show_notes,
    with_engine_options,
)
from ziprerank.cli.ranking_options import RankingOptions, with_ranking_options
from ziprerank.ranking import Ranking
from ziprerank.runtime.engine import EngineOptions


@with_engine_options()
@with_ranking_options()
def rank(
    query: Query,
    files: Files,
    *,
    top_k: TopK = None,
    options: RankingOptions,
    pages: Pages = None,
    password: Password = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON: page counts from 1 (null for an image), kept and tokens are counts.")
    ] = False,
    engine: EngineOptions,
) -> None:
    """Rank the pages of FILES by their relevance to QUERY."""
    from ziprerank.inputs.pages import with_pdf_options
    from ziprerank.reranker import Reranker

    reranker = Reranker.from_options(engine)
    inputs = [with_pdf_options(file, pages, password) for file in files]
    with ranking_bar() as report:
        ranking = reranker.rank(query, inputs, top_k, **options, progress=report)
    if as_json:
        print_json(ranking.to_dict())
    else:
        show_ranking(ranking)
    show_notes(ranking.warnings, ranking.skipped)


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
