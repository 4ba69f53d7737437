"""``ziprerank explain``: a picture of the best pages, with what pruning dropped faded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ziprerank.cli.options import Files, Pages, Password, Query, ranking_bar, show_notes, with_engine_options
from ziprerank.cli.ranking_options import RankingOptions, with_ranking_options
from ziprerank.runtime.engine import EngineOptions


@with_engine_options()
@with_ranking_options()
def explain(
    query: Query,
    files: Files,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture to write: .png, .jpg or .webp.")],
    top_k: Annotated[int, typer.Option(help="How many of the best pages to draw.")] = 6,
    options: RankingOptions,
    pages: Pages = None,
    password: Password = None,
    engine: EngineOptions,
) -> None:
    """Draw the best pages of FILES and which of their patches the decoder read for QUERY."""
    from ziprerank.explain import check_picture_name, draw_ranking, save_picture
    from ziprerank.inputs.pages import open_pages, with_pdf_options
    from ziprerank.reranker import Reranker

    check_picture_name(out)
    inputs = [with_pdf_options(file, pages, password) for file in files]
    reranker = Reranker.from_options(engine)
    with ranking_bar() as report:
        ranking = reranker.rank(query, inputs, top_k, **options, progress=report)
    show_notes(ranking.warnings, ranking.skipped)
    rules, limits = reranker.bundle.image, reranker.page_limits
    with open_pages(inputs, rules, options["on_bad_page"], limits=limits) as sources:
        save_picture(draw_ranking(ranking, sources, reranker.bundle.image), out)
    Console(soft_wrap=True).print(f"{escape(str(out))}: the best {len(ranking)} of {ranking.pages} pages")
