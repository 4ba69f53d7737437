"""``ziprerank``: rank pages, look at what the model kept, and say what is installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from typer.core import TyperGroup

from ziprerank.cli.batch import batch
from ziprerank.cli.bench import bench
from ziprerank.cli.build import build
from ziprerank.cli.export import export, verify
from ziprerank.cli.kernels import kernels
from ziprerank.cli.profile import profile
from ziprerank.cli.serve import serve
from ziprerank.cli.train import train
from ziprerank.cli.triton import triton_repo
from ziprerank.errors import InvalidInput, ZipRerankError
from ziprerank.ranking import Ranking
from ziprerank.windows import WindowOption

Query = Annotated[str, typer.Argument(help="What to look for.")]
Files = Annotated[list[Path], typer.Argument(help="PDF, JPEG, PNG or WebP files; every page of a PDF is a candidate.")]
TopK = Annotated[int | None, typer.Option(help="Show only the best pages.")]
KeepRatio = Annotated[float | None, typer.Option(help="Share of visual tokens the decoder reads, in (0, 1].")]
Window = Annotated[str, typer.Option(help="Pages in one pass: 1..20, 'auto' (the bundle's) or 'off' (all at once).")]
Stride = Annotated[int | None, typer.Option(help="Pages that the window moves by.")]
Pages = Annotated[str | None, typer.Option(help="Pages of each PDF, from 1: '1-20', '3', '5-', '1-4,9'.")]
Password = Annotated[str | None, typer.Option(help="Password of encrypted PDFs.")]
BundlePath = Annotated[Path | None, typer.Option("--bundle", help="A bundle; without it the one in the package.")]
Provider = Annotated[
    str,
    typer.Option(help="cpu, cuda, tensorrt, tensorrt-rtx, with :N a device; auto: cuda where it can run, else cpu."),
]
PageCacheFolder = Annotated[
    Path | None, typer.Option("--page-cache", help="A folder that keeps page features for the next time.")
]
PageCacheSize = Annotated[str, typer.Option(help="Most bytes in it: 4G, 512M.")]
Threads = Annotated[int, typer.Option(help="Threads of the engine; 0 lets ONNX Runtime choose.")]
Blank = Annotated[
    Literal["drop", "keep"] | None, typer.Option(help="Visual tokens of blank paper; without it as the bundle says.")
]


class Commands(TyperGroup):
    """Every command of the app: our errors become one line on stderr and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ZipRerankError as error:
            Console(stderr=True, soft_wrap=True).print(f"[bold red]Error:[/] {escape(' '.join(str(error).split()))}")
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Ranks document pages by a query, in one pass of a vision-language model.",
)
app.command()(export)
app.command()(verify)
app.command()(build)
app.command()(kernels)
app.command()(profile)
app.command()(serve)
app.command()(batch)
app.command()(train)
app.command()(bench)
app.command()(triton_repo)


@app.command()
def rank(
    query: Query,
    files: Files,
    *,
    top_k: TopK = None,
    keep_ratio: KeepRatio = None,
    window: Window = "auto",
    stride: Stride = None,
    pages: Pages = None,
    password: Password = None,
    bundle: BundlePath = None,
    provider: Provider = "cpu",
    threads: Threads = 0,
    blank: Blank = None,
    page_cache: PageCacheFolder = None,
    page_cache_size: PageCacheSize = "4G",
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON: page counts from 1 (null for an image), kept and tokens are counts.")
    ] = False,
) -> None:
    """Rank the pages of FILES by their relevance to QUERY."""
    from ziprerank.cache.page_cache import parse_size
    from ziprerank.inputs.pages import with_pdf_options
    from ziprerank.reranker import Reranker

    size = parse_size(page_cache_size)
    reranker = Reranker.from_bundle(
        bundle,
        provider=provider,
        threads=threads,
        blank=blank,
        page_cache=page_cache,
        page_cache_bytes=size,
    )
    with progress_bar("ranking") as report:
        ranking = reranker.rank(
            query,
            [with_pdf_options(file, pages, password) for file in files],
            top_k,
            keep_ratio=keep_ratio,
            window=parse_window(window),
            stride=stride,
            progress=report,
        )
    if as_json:
        sys.stdout.write(json.dumps(ranking.to_dict(), ensure_ascii=False, indent=2) + "\n")
    else:
        show_ranking(ranking)


@app.command()
def explain(
    query: Query,
    files: Files,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture to write: .png, .jpg or .webp.")],
    top_k: Annotated[int, typer.Option(help="How many of the best pages to draw.")] = 6,
    keep_ratio: KeepRatio = None,
    window: Window = "auto",
    stride: Stride = None,
    pages: Pages = None,
    password: Password = None,
    bundle: BundlePath = None,
    provider: Provider = "cpu",
    threads: Threads = 0,
    blank: Blank = None,
) -> None:
    """Draw the best pages of FILES and which of their patches the decoder read for QUERY."""
    from ziprerank.explain import check_picture_name, draw_ranking, save_picture
    from ziprerank.inputs.pages import open_pages, with_pdf_options
    from ziprerank.reranker import Reranker

    check_picture_name(out)
    inputs = [with_pdf_options(file, pages, password) for file in files]
    reranker = Reranker.from_bundle(bundle, provider=provider, threads=threads, blank=blank)
    with progress_bar("ranking") as report:
        ranking = reranker.rank(
            query,
            inputs,
            top_k,
            keep_ratio=keep_ratio,
            window=parse_window(window),
            stride=stride,
            progress=report,
        )
    with open_pages(inputs, reranker.bundle.image) as sources:
        save_picture(draw_ranking(ranking, sources, reranker.bundle.image), out)
    Console(soft_wrap=True).print(f"{escape(str(out))}: the best {len(ranking)} of {ranking.pages} pages")


@app.command()
def doctor(bundle: BundlePath = None, provider: Provider = "cpu", threads: Threads = 0) -> None:
    """Say what is installed, what runs, and what a bundle holds; exit code 1 when ranking cannot work."""
    from ziprerank.cli.doctor import examine

    console = Console(soft_wrap=True)
    report = examine(bundle, provider, threads)
    for title, rows in report.sections:
        table = Table(
            title=title, title_justify="left", title_style="bold", show_header=False, box=None, padding=(0, 2)
        )
        table.add_column(style="cyan", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in rows:
            table.add_row(name, escape(value))
        console.print(table)
        console.print()
    for problem in report.problems:
        console.print(f"[bold red]Problem:[/] {escape(problem)}")
    if report.problems:
        raise typer.Exit(1)
    console.print("[bold green]Ready to rank.[/]")


def parse_window(text: str) -> WindowOption:
    """``"auto"``, ``"off"`` or a number, as ``Reranker.rank`` takes it."""
    if text == "auto":
        return "auto"
    if text == "off":
        return "off"
    try:
        return int(text)
    except ValueError:
        raise InvalidInput(f"window {text!r}: must be 1..20, 'auto' or 'off'") from None


@contextmanager
def progress_bar(task: str) -> Iterator[Any]:
    """A bar on stderr for people, nothing where stderr is no terminal; yields the callback that moves it."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(task, total=None)

        def report(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        yield report


def show_ranking(ranking: Ranking) -> None:
    """The ranking as a table on stdout, with what it took below."""
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
            f"{len(page.kept)} of {page.tokens}",
        )
    console.print(table)
    timings, tokens = ranking.timings, ranking.tokens
    windows = "1 pass" if ranking.windows == 1 else f"{ranking.windows} windows"
    console.print(
        f"\n{ranking.pages} pages in {windows}, {timings.total / 1e3:.2f} s "
        f"(vision {timings.vision / 1e3:.2f}, rerank {timings.rerank / 1e3:.2f}); "
        f"{tokens.kept:,} of {tokens.visual:,} visual tokens kept"
        + (f", {tokens.blank:,} were blank" if tokens.blank else ""),
        style="dim",
        highlight=False,
        soft_wrap=True,
    )
    if ranking.windows > 1:
        note = "Score and probability are those of a page's last window; the rank is final."
        console.print(note, style="dim", soft_wrap=True)
