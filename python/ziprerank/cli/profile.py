"""``ziprerank profile``: where the time of a ranking goes, as a trace and as two tables."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ziprerank.cli.options import Files, KeepRatio, Pages, Password, with_engine_options
from ziprerank.errors import InvalidInput
from ziprerank.runtime.engine import EngineOptions

if TYPE_CHECKING:
    from ziprerank.profiling.record import Profile
    from ziprerank.profiling.trace import Slice

OPERATORS = 15  # rows of the second table


@with_engine_options()
def profile(
    files: Files,
    *,
    query: Annotated[str, typer.Option(help="What to look for.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The trace to write, for ui.perfetto.dev.")],
    runs: Annotated[int, typer.Option(help="Rankings; from the second on all pages are in memory.")] = 3,
    keep_ratio: KeepRatio = None,
    pages: Pages = None,
    password: Password = None,
    nvtx: Annotated[bool, typer.Option("--nvtx", help="Stages as NVTX ranges too, for Nsight Systems.")] = False,
    engine: EngineOptions,
) -> None:
    """Record a few rankings: a Chrome trace with every stage and node, and where the time went."""
    from ziprerank.inputs.pages import with_pdf_options
    from ziprerank.profiling.record import record
    from ziprerank.profiling.trace import chrome_trace

    if not out.absolute().parent.is_dir():
        raise InvalidInput(f"{out}: there is no folder {out.absolute().parent}, make it first")
    found = record(
        query,
        [with_pdf_options(file, pages, password) for file in files],
        engine,
        runs=runs,
        keep_ratio=keep_ratio,
        nvtx=nvtx,
    )
    about = {name: found.info[name] for name in ("provider", "device", "precision", "runtime_version", "threads")}
    trace = chrome_trace(found.slices, found.thread_names, {**about, "query": query})
    out.write_text(json.dumps(trace), encoding="utf-8")
    console = Console()
    for table in (stage_table(found), operator_table(found)):
        console.print(table)
        console.print()
    console.print(f"{escape(str(out))}: open it at ui.perfetto.dev", style="dim", soft_wrap=True)


@dataclass(slots=True)
class Share:
    """Calls and milliseconds, summed."""

    calls: int = 0
    ms: float = 0.0

    def add(self, ms: float) -> None:
        self.calls += 1
        self.ms += ms


def stages_of(found: Profile, one: Slice) -> dict[tuple[str, ...], Share]:
    """What a pass is made of, by path: ``("vision", "patchify")``. What other threads did meanwhile is ``(beside)``,
    what is in no stage ``(rest)``."""
    shares: dict[tuple[str, ...], Share] = defaultdict(Share)
    for path, inner in _paths(found.slices, one):
        shares[path].add(inner.ms)
    inside = sum(share.ms for path, share in shares.items() if len(path) == 1)
    for other in found.slices:
        if other.kind == "stage" and other.thread != one.thread and one.holds(other):
            shares[f"{other.args['stage']} (beside)",].add(other.ms)
    shares["(rest)",].add(one.ms - inside)
    return dict(shares)


def operators_of(found: Profile) -> dict[tuple[str, str], Share]:
    """Nodes in all passes by graph and operator."""
    shares: dict[tuple[str, str], Share] = defaultdict(Share)
    for node in found.slices:
        if node.kind == "node" and any(one.holds(node) for one in found.passes):
            shares[node.args["graph"], node.args["op_name"]].add(node.ms)
    return dict(shares)


def stage_table(found: Profile) -> Table:
    first, later = found.passes[0], found.passes[1:]
    columns = [("first", [stages_of(found, first)], first.ms)]
    if later:
        columns.append(("next", [stages_of(found, one) for one in later], sum(one.ms for one in later)))
    paths = list(dict.fromkeys(path for _, passes, _ in columns for stages in passes for path in stages))
    table = Table(title="Milliseconds a ranking, by stage", title_justify="left", title_style="bold", box=None)
    table.add_column("stage", no_wrap=True)
    for name, _, _ in columns:
        for heading in (f"{name}: calls", "ms", "share"):
            table.add_column(heading, justify="right")
    for path in paths:
        cells = []
        for _, passes, total in columns:
            shares = [stages.get(path, Share()) for stages in passes]
            calls, ms = sum(share.calls for share in shares), sum(share.ms for share in shares)
            shown = [f"{calls / len(passes):g}", f"{ms / len(passes):.2f}", f"{ms / total:.1%}"]
            cells += shown if calls else ["", "", ""]
        table.add_row("  " * (len(path) - 1) + path[-1], *cells)
    ends = [cell for _, passes, total in columns for cell in ("", f"{total / len(passes):.2f}", "")]
    table.add_row("ranking", *ends, style="bold")
    return table


def operator_table(found: Profile) -> Table:
    shares = sorted(operators_of(found).items(), key=lambda item: -item[1].ms)
    total = sum(one.ms for one in found.passes)
    count = len(found.passes)
    table = Table(title="Milliseconds a ranking, by operator", title_justify="left", title_style="bold", box=None)
    for heading in ("graph", "operator"):
        table.add_column(heading, no_wrap=True)
    for heading in ("calls", "ms", "share"):
        table.add_column(heading, justify="right")
    rest = shares[OPERATORS:]
    rows = [(*name, share) for name, share in shares[:OPERATORS]]
    if rest:
        others = Share(sum(share.calls for _, share in rest), sum(share.ms for _, share in rest))
        rows.append(("", f"{len(rest)} others", others))
    for graph, name, share in rows:
        table.add_row(graph, name, f"{share.calls / count:g}", f"{share.ms / count:.2f}", f"{share.ms / total:.1%}")
    return table


def _paths(slices: Sequence[Slice], one: Slice) -> Iterator[tuple[tuple[str, ...], Slice]]:
    """Stages on the thread of a pass, each with the names of those that hold it."""
    held: list[tuple[str, Slice]] = []
    for inner in slices:
        if inner.thread != one.thread or inner is one or not one.holds(inner):
            continue
        if inner.kind not in ("stage", "engine", "part"):
            continue
        while held and not held[-1][1].holds(inner):
            held.pop()
        held.append((str(inner.args.get("stage", inner.name)), inner))
        yield tuple(name for name, _ in held), inner
