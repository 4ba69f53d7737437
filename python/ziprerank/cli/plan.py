"""``ziprerank plan``: what a ranking would read, and about how long it would take on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from ziprerank.cli.options import Files, Pages, Password, TopK, print_json, show_notes, with_engine_options
from ziprerank.cli.ranking_options import RankingOptions, with_ranking_options
from ziprerank.runtime.engine import EngineOptions

if TYPE_CHECKING:
    from ziprerank.ranking_plan import RankingPlan

_SOURCES = {"rankings": "rankings of this process", "calibration": "a calibration on a made page", "given": "given"}


@with_engine_options()
@with_ranking_options()
def plan(
    files: Files,
    *,
    query: Annotated[
        str | None, typer.Option(help="What to look for. Without it, any query whose words are in FILES.")
    ] = None,
    top_k: TopK = None,
    options: RankingOptions,
    pages: Pages = None,
    password: Password = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, with the rates of the estimate.")] = False,
    engine: EngineOptions,
) -> None:
    """Show pages, passes, tokens and about how long rank would take for FILES, without encoding one of their pages.

    The rates are measured first: one made page is rendered three times, encoded twice and scored in three passes.
    """
    from ziprerank.inputs.pages import with_pdf_options
    from ziprerank.reranker import Reranker

    reranker = Reranker.from_options(engine)
    found = reranker.plan(query, [with_pdf_options(file, pages, password) for file in files], top_k, **options)
    if as_json:
        print_json(found.to_dict())
    else:
        _show(found)
    show_notes((), found.skipped)


def _show(found: RankingPlan) -> None:
    tokens, ms = found.tokens, found.estimate
    size = "not known" if found.feature_bytes is None else f"at most {found.feature_bytes:,} bytes"
    rows = [
        ("pages", f"{found.pages:,}"),
        ("pages that the model reads", f"{found.read:,}, first stage: {found.first_stage}"),
        ("passes", f"{found.passes:,} ({found.strategy})"),
        ("visual tokens, over all passes", f"{tokens.visual:,}, of which about {tokens.blank:,} are blank"),
        ("after pruning", f"about {tokens.kept:,} (keep ratio {found.keep_ratio:g})"),
        ("text tokens, over all passes", f"{tokens.text:,}"),
        ("page features", size),
        ("pages in memory already", f"{found.cached:,}"),
        ("opening and first stage", f"{ms.spent:,.0f} ms, measured now"),
        ("waiting for pages", f"about {ms.pages:,.0f} ms"),
        ("vision", f"about {ms.vision:,.0f} ms"),
        ("rerank", f"about {ms.rerank:,.0f} ms"),
        ("total", f"about {ms.total:,.0f} ms"),
    ]
    table = Table(box=None, pad_edge=False, show_header=False)
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    rates = found.rates
    sources = dict.fromkeys(_SOURCES[one] for one in (rates.page_source, rates.token_source, rates.pass_source))
    console.print(f"\nRates: {', '.join(sources)}.", style="dim", highlight=False, soft_wrap=True)
    if found.budget is not None:
        console.print(str(found.budget), style="dim", highlight=False, soft_wrap=True)
