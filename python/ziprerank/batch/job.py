"""A whole batch: rows in, those not done yet ranked, rows out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ziprerank.batch.parts import Output
from ziprerank.batch.ranking import Done, Ranker
from ziprerank.batch.rows import Group, Row, grouped
from ziprerank.errors import EngineError

MOST_FAILURES = 5  # groups one after another that failed by no fault of their own: the engine is broken

Run = Callable[[Iterable[Group]], Iterator[Done]]
"""Ranks groups somewhere: ``workers.rank_locally`` or ``ray_data.rank_on_ray`` with all but the groups filled in."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Rows: ``ranked`` by this run, of ``rows`` in all that the output has now, ``errors`` of them with an error."""

    rows: int
    ranked: int
    errors: int


def job_of(ranker: Ranker) -> dict[str, Any]:
    """What rows depend on beside the input, as it is recorded in the output. Raises BundleError."""
    bundle = replace(ranker.engine, check="size").load_bundle()
    return {
        "bundle_id": bundle.bundle_id,
        "longest_side": bundle.image.longest_side,
        "keep_ratio": bundle.defaults.keep_ratio if ranker.keep_ratio is None else ranker.keep_ratio,
        "window": ranker.window,
        "stride": ranker.stride,
        "top_k": ranker.top_k,
        "blank": ranker.engine.blank or bundle.defaults.blank,
    }


def run_job(rows: Iterable[Row], output: Output, run: Run, progress: Callable[[int], None] | None = None) -> Summary:
    """Ranks those of ``rows`` that the open ``output`` lacks; ``progress`` is told how many it has, after each group.

    Raises EngineError where document after document fails by no fault of its own; what was ranked stays.
    """
    ranked, failures, begun = 0, 0, len(output.done)
    waiting = grouped(row for row in rows if row.id not in output.done)
    for done in run(waiting):
        output.add(done.rows)
        ranked += len(done.rows)
        failures = failures + 1 if done.failed else 0
        if failures == MOST_FAILURES:
            raise EngineError(
                f"{failures} documents in a row failed, the last with: {done.rows[-1]['error']}; see what is wrong, "
                "then run again with --retry-errors"
            )
        if progress is not None:
            progress(begun + ranked)
    output.flush()
    return Summary(len(output.done), ranked, output.errors)
