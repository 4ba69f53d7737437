"""``ziprerank``: every command in one application."""

from __future__ import annotations

import io
import sys
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from ziprerank.cli.batch import batch
from ziprerank.cli.bench import bench
from ziprerank.cli.build import build
from ziprerank.cli.doctor import doctor
from ziprerank.cli.eval import evaluate
from ziprerank.cli.explain import explain
from ziprerank.cli.export import export
from ziprerank.cli.kernels import kernels
from ziprerank.cli.options import PASSWORD_WAY_HERE
from ziprerank.cli.plan import plan
from ziprerank.cli.profile import profile
from ziprerank.cli.rank import rank
from ziprerank.cli.serve import serve
from ziprerank.cli.train import train
from ziprerank.cli.triton import triton_repo
from ziprerank.cli.verify import verify
from ziprerank.errors import ZipRerankError, said_for


class Commands(TyperGroup):
    """Every command of the app: our errors become one line on stderr and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # names of files need not be text
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except ZipRerankError as error:
            text = said_for(" ".join(str(error).split()), PASSWORD_WAY_HERE)
            Console(stderr=True, soft_wrap=True).print(f"[bold red]Error:[/] {escape(text)}")
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Rerank document pages from their images, in one pass of a vision-language model.",
)
COMMANDS = (
    rank,
    plan,
    explain,
    doctor,
    profile,
    serve,
    batch,
    bench,
    export,
    verify,
    build,
    kernels,
    triton_repo,
    train,
)
for command in COMMANDS:
    app.command()(command)
app.command("eval")(evaluate)
