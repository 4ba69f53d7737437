"""Runs a batch job: ranks the input rows that the output does not have yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ziprerank.batch.parts import SCHEMA, Output
from ziprerank.batch.ranking import Done, Ranker
from ziprerank.batch.rows import Group, Row, grouped
from ziprerank.errors import EngineError, InvalidInput
from ziprerank.first_stage.stage import CANDIDATES

MOST_FAILURES = 5  # after so many failed groups without a row that was ranked the engine is taken to be broken

Run = Callable[[Iterable[Group]], Iterator[Done]]
"""Ranks groups: ``workers.rank_locally`` or ``ray_data.rank_on_ray`` with all other arguments bound."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of rows after a run.

    Attributes:
        rows: Rows that the output has now.
        ranked: Rows that this run added, including those with an error.
        errors: Rows of the output that have an error.
        left: Rows of the output whose ids the input does not have any more.
    """

    rows: int
    ranked: int
    errors: int
    left: int = 0


def job_of(ranker: Ranker) -> dict[str, Any]:
    """Returns all that the output rows depend on besides the input, as the output records it.

    Raises:
        BundleError: The bundle cannot be read.
        InvalidInput: As ``Ranker.check``.
    """
    bundle = replace(ranker.engine, check="size").load_bundle()
    ranker.check(bundle)
    usual = ranker.budget_ms is None  # with a budget, what is not given may be lowered, and what is given stays
    return {
        "columns": SCHEMA.names,
        "bundle_id": bundle.bundle_id,
        "longest_side": bundle.image.longest_side,
        "keep_ratio": bundle.defaults.keep_ratio if ranker.keep_ratio is None and usual else ranker.keep_ratio,
        "window": ranker.window,
        "stride": ranker.stride,
        "strategy": ranker.strategy,
        "first_stage": ranker.first_stage,
        "candidates": CANDIDATES if ranker.candidates is None and usual else ranker.candidates,
        "top_k": ranker.top_k,
        "on_bad_page": ranker.on_bad_page,
        "blank": ranker.engine.blank or bundle.defaults.blank,
        "instruction": ranker.instruction,
        "budget_ms": ranker.budget_ms,
    }


def run_job(
    rows: Iterable[Row],
    output: Output,
    run: Run,
    progress: Callable[[int], None] | None = None,
    *,
    rerank_changed: bool = False,
) -> Summary:
    """Ranks the rows that the output does not have yet.

    Args:
        rows: The input, which is iterated twice if the output has rows.
        output: The open output, to which rows are added as they are ranked.
        run: Ranks groups of rows.
        progress: Called as rows are done with the number of rows in the output.
        rerank_changed: Whether rows whose query, documents or pages changed since they were ranked are ranked again.

    Returns:
        How many rows were ranked, and how many the output has.

    Raises:
        InvalidInput: A row has changed, and ``rerank_changed`` is False.
        EngineError: ``MOST_FAILURES`` groups failed for reasons other than their rows, and none was ranked between. The
            output keeps the rows that were ranked before.
    """
    known = _without_changed(rows, output, rerank=rerank_changed) if output.done else 0
    left, ranked, failures, begun = len(output.done) - known, 0, 0, len(output.done)
    waiting = grouped(row for row in rows if row.id not in output.done)
    for done in run(waiting):
        output.add(done.rows)
        ranked += len(done.rows)
        if done.failed:
            failures += 1
        elif any(row["error"] is None for row in done.rows):
            failures = 0
        if failures == MOST_FAILURES:
            raise EngineError(
                f"{failures} groups of rows failed one after another, the last with: {done.rows[-1]['error']}; "
                "remove the cause, then run again with --retry-errors"
            )
        if progress is not None:
            progress(begun + ranked)
    output.flush()
    return Summary(len(output.done), ranked, output.errors, left)


def _without_changed(rows: Iterable[Row], output: Output, *, rerank: bool) -> int:
    """Removes changed rows from the output, or raises InvalidInput; returns how many of its rows the input has."""
    known, changed = 0, []
    for row in rows:
        before = output.done.get(row.id)
        if before is not None:
            known += 1
            if before != row.digest:
                changed.append(row.id)
    if not changed:
        return known
    if not rerank:
        told = ", ".join(repr(name) for name in changed[:3]) + (", ..." if len(changed) > 3 else "")
        count = "1 row" if len(changed) == 1 else f"{len(changed):,} rows"
        raise InvalidInput(
            f"the query, documents or pages of {count} changed since they were ranked ({told}): rank them again with "
            "--rerank-changed, or write into another folder"
        )
    names = set(changed)
    output.drop(lambda row: row["id"] in names)
    return known - len(changed)
