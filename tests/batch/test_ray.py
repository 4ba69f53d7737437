"""Test that the same job on a local Ray gives the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import ray
from batch_job import Job, rows_of
from ziprerank.batch.job import job_of, run_job
from ziprerank.batch.parts import Output
from ziprerank.batch.ranking import Ranker
from ziprerank.batch.ray_data import rank_on_ray
from ziprerank.batch.rows import read_rows
from ziprerank.batch.workers import rank_locally
from ziprerank.runtime.engine import EngineOptions

pytestmark = pytest.mark.slow  # a cluster


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray.init(num_cpus=2, object_store_memory=100 << 20, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


class _Stop(Exception):
    pass


@pytest.mark.usefixtures("local_ray")
def test_rows_are_those_of_one_process(job: Job, bundle_path: Path, tmp_path: Path) -> None:
    ranker = Ranker(EngineOptions(bundle_path, threads=1))
    on_ray = partial(rank_on_ray, ranker=ranker, workers=2, address="auto", cpus=1)

    def stopped(progress: int) -> None:
        if progress > 60:
            raise _Stop

    with Output(tmp_path / "ray", job_of(ranker), part_rows=20) as output, pytest.raises(_Stop):
        run_job(read_rows(job.table), output, on_ray, stopped)
    begun = len(rows_of(tmp_path / "ray"))
    assert 60 < begun < 200
    with Output(tmp_path / "ray", job_of(ranker), part_rows=20) as output:
        summary = run_job(read_rows(job.table), output, on_ray)
    assert (summary.rows, summary.ranked, summary.errors) == (200, 200 - begun, 10)
    with Output(tmp_path / "here", job_of(ranker)) as output:
        run_job(read_rows(job.table), output, partial(rank_locally, ranker=ranker, workers=1))
    rows = rows_of(tmp_path / "ray")
    assert [row["id"] for row in rows] == sorted(job.ids)
    assert rows == rows_of(tmp_path / "here")
