"""Runs a batch job: ranks the input rows that the output does not have yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ziprerank.batch.parts import Output
from ziprerank.batch.ranking import Done, Ranker
from ziprerank.batch.rows import Group, Row, grouped
from ziprerank.errors import EngineError

MOST_FAILURES = 5  # after so many failed groups in a row the engine is taken to be broken

Run = Callable[[Iterable[Group]], Iterator[Done]]
"""Ranks groups: ``workers.rank_locally`` or ``ray_data.rank_on_ray`` with all other arguments bound."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of rows after a run.

    Attributes:
        rows: Rows that the output has now.
        ranked: Rows that this run added, including those with an error.
        errors: Rows of the output that have an error.
    """

    rows: int
    ranked: int
    errors: int


def job_of(ranker: Ranker) -> dict[str, Any]:
    """Returns all that the output rows depend on besides the input, as the output records it. Raises BundleError."""
    bundle = replace(ranker.engine, check="size").load_bundle()
    return {
        "bundle_id": bundle.bundle_id,
        "longest_side": bundle.image.longest_side,
        "keep_ratio": bundle.defaults.keep_ratio if ranker.keep_ratio is None else ranker.keep_ratio,
        "window": ranker.window,
        "stride": ranker.stride,
        "top_k": ranker.top_k,
        "on_bad_page": ranker.on_bad_page,
        "blank": ranker.engine.blank or bundle.defaults.blank,
    }


def run_job(rows: Iterable[Row], output: Output, run: Run, progress: Callable[[int], None] | None = None) -> Summary:
    """Ranks the rows that the output does not have yet.

    Args:
        rows: The input.
        output: The open output, to which rows are added as they are ranked.
        run: Ranks groups of rows.
        progress: Called after each group with the number of rows in the output.

    Returns:
        How many rows were ranked, and how many the output has.

    Raises:
        EngineError: ``MOST_FAILURES`` groups in a row failed for reasons other than their rows. The output keeps the
            rows that were ranked before.
    """
    ranked, failures, begun = 0, 0, len(output.done)
    waiting = grouped(row for row in rows if row.id not in output.done)
    for done in run(waiting):
        output.add(done.rows)
        ranked += len(done.rows)
        failures = failures + 1 if done.failed else 0
        if failures == MOST_FAILURES:
            raise EngineError(
                f"{failures} groups of rows failed one after another, the last with: {done.rows[-1]['error']}; "
                "remove the cause, then run again with --retry-errors"
            )
        if progress is not None:
            progress(begun + ranked)
    output.flush()
    return Summary(len(output.done), ranked, output.errors)
