"""``ziprerank doctor``: what is installed, what runs, and what a bundle holds."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ziprerank.cli.options import with_engine_options
from ziprerank.runtime.engine import EngineOptions


@with_engine_options()
def doctor(*, engine: EngineOptions) -> None:
    """Say what is installed, what runs, and what a bundle holds; exit code 1 when ranking cannot work."""
    from ziprerank.cli.installation import examine

    console = Console(soft_wrap=True)
    report = examine(engine)
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
