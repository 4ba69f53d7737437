"""``ziprerank kernels``: the resources that a bundle's compiled pruning kernels use on each GPU generation."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

COLUMNS = ("kernel", "target", "threads", "registers", "spilled", "shared", "file size")


def kernels(
    bundle: Annotated[Path, typer.Argument(help="A bundle, or a directory with launch.json.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="The launch table's rows as JSON; sizes in bytes.")] = False,
) -> None:
    """Show registers, spills and shared memory of a bundle's compiled kernels; needs no GPU."""
    from ziprerank.kernels import describe

    directory = bundle / "kernels" if (bundle / "ziprerank.json").is_file() else bundle
    rows = describe(directory)
    if as_json:
        sys.stdout.write(json.dumps([dataclasses.asdict(row) for row in rows], indent=2) + "\n")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in COLUMNS[:2] else "right", no_wrap=True)
    for row in rows:
        target = f"sm_{row.arch}" if row.kind == "cubin" else f"sm_{row.arch} PTX"
        spilled = f"{row.spill} B" if row.spill else "none"
        shared, size = (f"{value / 1024:.1f} KB" for value in (row.shared, row.size))
        table.add_row(row.kernel, target, str(row.threads), str(row.registers), spilled, shared, size)
    Console().print(table)
