"""Says where the time of recorded rankings went, as two tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from ziprerank.profiling.record import Profile
    from ziprerank.profiling.trace import Slice

OPERATORS = 15  # rows of the second table


@dataclass(slots=True)
class Share:
    """Calls and milliseconds, summed."""

    calls: int = 0
    ms: float = 0.0

    def add(self, ms: float) -> None:
        self.calls += 1
        self.ms += ms


def stages_of(found: Profile, one: Slice) -> dict[tuple[str, ...], Share]:
    """Returns what a pass is made of, by path, such as ``("vision", "patchify")``.

    What other threads did meanwhile is ``(beside)``, and what is in no stage is ``(rest)``.
    """
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
    """Returns the nodes of all passes, by graph and operator."""
    shares: dict[tuple[str, str], Share] = defaultdict(Share)
    for node in found.slices:
        if node.kind == "node" and any(one.holds(node) for one in found.passes):
            shares[node.args["graph"], node.args["op_name"]].add(node.ms)
    return dict(shares)


def stage_table(found: Profile) -> Table:
    """Returns milliseconds a ranking by stage: of the first ranking, and on average of those after it."""
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
    """Returns milliseconds a ranking by operator, the longest first."""
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
