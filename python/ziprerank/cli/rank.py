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
from ziprerank.scales import SCALE, Scale


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
    scale: Annotated[Scale, typer.Option(help=f"{SCALE} JSON has all three.")] = "probability",
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
        show_ranking(ranking, scale)
    show_notes(ranking.warnings, ranking.skipped)


def show_ranking(ranking: Ranking, scale: Scale = "probability") -> None:
    """Prints the ranking as a table, and below it what it took.

    Args:
        ranking: What to print. Where it took several passes, each page has the numbers of those that held it.
        scale: What is shown beside the logits, which are always there as ``score``.
    """
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("rank", justify="right")
    table.add_column("page", overflow="fold")
    shares = [] if scale == "logit" else [scale]
    several = ["passes"] if ranking.windows > 1 else []
    for name in (*shares, "score", "kept", *several):
        table.add_column(name, justify="right", no_wrap=name != "passes")
    for page in ranking:
        table.add_row(
            str(page.rank),
            escape(page.label),
            *(f"{page.on_scale(one):.3f}" for one in shares),
            f"{page.score:.2f}",
            f"{len(page.kept)} of {page.tokens}" if page.passes else "not read",
            *(", ".join(map(str, page.passes)) for _ in several),
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
    if scale == "probability" and [page.probability for page in ranking] == [1.0] and ranking.pages == 1:
        told = "A page alone has probability 1, whatever the query: --scale sigmoid goes by its own logit."
        console.print(told, style="dim", highlight=False, soft_wrap=True)
    if ranking.budget is not None:
        console.print(str(ranking.budget), style="dim", highlight=False, soft_wrap=True)
