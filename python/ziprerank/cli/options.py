"""The options that several commands share, each written once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ziprerank.budget import BUDGET
from ziprerank.bundle import Blank, Check
from ziprerank.errors import InvalidInput, quoted, said_for
from ziprerank.first_stage.stage import CANDIDATES, CANDIDATES_HELP, FIRST_STAGE, FirstStage
from ziprerank.inputs.bad_pages import ON_BAD_PAGE, OnBadPage
from ziprerank.profiling.meter import ProgressCallback, StepCount
from ziprerank.ranking import Ranking, summed_up
from ziprerank.runtime.engine import EngineOptions, parse_size, show_size
from ziprerank.strategies import STRATEGY, StrategyOption
from ziprerank.windows import MAX_WINDOW, WindowOption

Query = Annotated[str, typer.Argument(help="What to look for.")]
Files = Annotated[list[Path], typer.Argument(help="PDFs and images; every page of a PDF or a TIFF is a candidate.")]
TopK = Annotated[int | None, typer.Option(help="Show only the best pages.")]
KeepRatio = Annotated[
    float | None,
    typer.Option(help="Share of each page's visual tokens that the decoder reads, in (0, 1]. Default: the bundle's."),
]
Window = Annotated[
    str, typer.Option(help=f"Pages in one pass: 1..{MAX_WINDOW}, 'auto' (the bundle's) or 'off' (all at once).")
]
Stride = Annotated[int | None, typer.Option(help="Pages by which the window moves. Default: the bundle's.")]
Strategies = Annotated[StrategyOption, typer.Option("--strategy", help=STRATEGY)]
Stage = Annotated[FirstStage, typer.Option("--first-stage", help=FIRST_STAGE)]
Candidates = Annotated[int | None, typer.Option("--candidates", help=f"{CANDIDATES_HELP} Default: {CANDIDATES}.")]
BudgetMs = Annotated[float | None, typer.Option("--budget-ms", help=BUDGET)]
Instruction = Annotated[
    str | None,
    typer.Option(
        help="What makes a page relevant, for bundles whose prompt has a place for it. Default: the bundle's."
    ),
]
Pages = Annotated[str | None, typer.Option(help="Pages of each PDF or TIFF, from 1: '1-20', '3', '5-', '1-4,9'.")]
Queries = Annotated[list[str] | None, typer.Option("--query", help="A query for these pages; may be repeated.")]
Password = Annotated[str | None, typer.Option(help="Password of encrypted PDFs.")]
BadPages = Annotated[OnBadPage, typer.Option(help=ON_BAD_PAGE)]
Provider = Annotated[str, typer.Option(help=EngineOptions.__dataclass_fields__["provider"].metadata["help"])]
Threads = Annotated[int, typer.Option(help=EngineOptions.__dataclass_fields__["threads"].metadata["help"])]

PASSWORD_WAY_HERE = "with --password"

_Command = TypeVar("_Command", bound=Callable[..., None])

# the types by which the command line reads engine options; sizes are texts such as 4G
_TYPES: dict[str, Any] = {
    "bundle": Path | None,
    "provider": str,
    "threads": int,
    "pool_bytes": str,
    "blank": Blank | None,
    "page_cache": Path | None,
    "page_cache_bytes": str,
    "check": Check,
    "page_workers": str,
    "page_timeout": float,
    "page_memory_bytes": str,
    "max_prompt_tokens": int | None,
}


def with_engine_options(*, variables: bool = False) -> Callable[[_Command], _Command]:
    """Gives a command every engine option as a flag of its own, in place of its parameter ``engine: EngineOptions``.

    ``--pool-size`` and its like set the fields that end in ``_bytes``.

    Args:
        variables: Whether each flag may be set by an environment variable ``ZIPRERANK_...`` too.
    """

    def decorate(command: _Command) -> _Command:
        flags = {_flag_name(one.name): one for one in fields(EngineOptions)}
        hints = get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=hints[name])
            for name, parameter in inspect.signature(command).parameters.items()
            if name != "engine"
        ]
        shared = []
        for name, one in flags.items():
            envvar = f"ZIPRERANK_{name.upper()}" if variables else None
            option = typer.Option(help=one.metadata["help"], envvar=envvar, rich_help_panel="Engine")
            default: Any = one.default
            if one.name.endswith("_bytes"):
                default = show_size(default)
            shared.append(
                inspect.Parameter(
                    name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=default,
                    annotation=Annotated[_TYPES[one.name], option],
                )
            )

        def run(**values: Any) -> None:
            given = {one.name: values.pop(name) for name, one in flags.items()}
            given |= {name: parse_size(value) for name, value in given.items() if name.endswith("_bytes")}
            command(**values, engine=EngineOptions(**given))

        parameters = [*own, *shared]
        run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # which Typer reads
            [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
        )
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run  # type: ignore[return-value]  # called by Typer alone

    return decorate


def parse_window(text: str) -> WindowOption:
    """Returns ``"auto"``, ``"off"`` or a number, as ``Reranker.rank`` takes it. Raises InvalidInput."""
    if text == "auto":
        return "auto"
    if text == "off":
        return "off"
    try:
        return int(text)
    except ValueError:
        raise InvalidInput(f"window {quoted(text)}: must be 1..{MAX_WINDOW}, 'auto' or 'off'") from None


def show_notes(ranking: Ranking) -> None:
    """Prints a ranking's warnings and the pages that were skipped, if there are any, on stderr."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for title, notes in (("Warning", ranking.warnings), ("Skipped", ranking.skipped)):
        for line in summed_up(notes):
            console.print(f"[yellow]{title}:[/] {escape(said_for(line, PASSWORD_WAY_HERE))}")


@contextmanager
def ranking_bar() -> Iterator[ProgressCallback]:
    """Shows a ranking's pages and passes on stderr where that is a terminal; yields its progress callback."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("ranking", total=None, told="")

        def report(done: StepCount, total: StepCount) -> None:
            told = f"{done.pages}/{total.pages} pages, {done.passes}/{total.passes} passes"
            progress.update(bar, completed=done, total=total, told=told)

        yield report


@contextmanager
def progress_bar(task: str) -> Iterator[Callable[[int, int | None], None]]:
    """Shows a bar on stderr where that is a terminal; yields the callback that moves it: (steps done, steps in all)."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(task, total=None)

        def report(done: int, total: int | None) -> None:
            progress.update(bar, completed=done, total=total)

        yield report


def _flag_name(field: str) -> str:
    return field.removesuffix("_bytes") + "_size" if field.endswith("_bytes") else field
