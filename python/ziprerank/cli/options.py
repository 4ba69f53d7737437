"""The options that several commands share, each written once."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ziprerank.bundle import Blank, Check
from ziprerank.cli.flags import Command, flag, in_place_of
from ziprerank.errors import said_for
from ziprerank.profiling.meter import ProgressCallback, StepCount
from ziprerank.ranking import PageNote, summed_up
from ziprerank.runtime.engine import EngineOptions, parse_size, show_size

Query = Annotated[str, typer.Argument(help="What to look for.")]
Files = Annotated[list[Path], typer.Argument(help="PDFs and images; every page of a PDF or a TIFF is a candidate.")]
TopK = Annotated[int | None, typer.Option(help="Show only the best pages.")]
Pages = Annotated[str | None, typer.Option(help="Pages of each PDF or TIFF, from 1: '1-20', '3', '5-', '1-4,9'.")]
Queries = Annotated[list[str] | None, typer.Option("--query", help="A query for these pages; may be repeated.")]
Password = Annotated[str | None, typer.Option(help="Password of encrypted PDFs.")]
Provider = Annotated[str, typer.Option(help=EngineOptions.__dataclass_fields__["provider"].metadata["help"])]
Threads = Annotated[int, typer.Option(help=EngineOptions.__dataclass_fields__["threads"].metadata["help"])]

PASSWORD_WAY_HERE = "with --password"

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


def with_engine_options(*, variables: bool = False) -> Callable[[Command], Command]:
    """Gives a command every engine option as a flag of its own, in place of its parameter ``engine: EngineOptions``.

    ``--pool-size`` and its like set the fields that end in ``_bytes``.

    Args:
        variables: Whether each flag may be set by an environment variable ``ZIPRERANK_...`` too.
    """
    names = {_flag_name(one.name): one for one in fields(EngineOptions)}
    flags = []
    for name, one in names.items():
        envvar = f"ZIPRERANK_{name.upper()}" if variables else None
        option = typer.Option(help=one.metadata["help"], envvar=envvar, rich_help_panel="Engine")
        default: Any = one.default
        shown = show_size(default) if one.name.endswith("_bytes") else default
        flags.append(flag(name, Annotated[_TYPES[one.name], option], shown))

    def read(values: dict[str, Any]) -> EngineOptions:
        given = {one.name: values[name] for name, one in names.items()}
        given |= {name: parse_size(value) for name, value in given.items() if name.endswith("_bytes")}
        return EngineOptions(**given)

    return lambda command: in_place_of("engine", flags, read, command)


def show_notes(warnings: Iterable[PageNote], skipped: Iterable[PageNote]) -> None:
    """Prints what pages do not show and which were skipped, if there is anything to say, on stderr."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for title, notes in (("Warning", warnings), ("Skipped", skipped)):
        for line in summed_up(notes):
            console.print(f"[yellow]{title}:[/] {escape(said_for(line, PASSWORD_WAY_HERE))}")


def print_json(told: dict[str, Any]) -> None:
    """Prints the ``to_dict`` of a ranking or a plan on stdout, whose ``skipped`` say how a password is given here."""
    skipped = [{**note, "text": said_for(note["text"], PASSWORD_WAY_HERE)} for note in told["skipped"]]
    sys.stdout.write(json.dumps({**told, "skipped": skipped}, ensure_ascii=False, indent=2) + "\n")


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
