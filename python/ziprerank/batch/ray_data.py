"""Ranks groups as a Ray Data job, on a pool of actors in a cluster that each have an engine (extra ``ray``)."""

from __future__ import annotations

import atexit
import pickle
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ziprerank.batch.ranking import Done, Ranker
from ziprerank.batch.rows import Group
from ziprerank.batch.workers import Worker
from ziprerank.errors import MissingDependency

_Batch = dict[str, NDArray[Any]]


class RankGroups:
    """A callable class for ``Dataset.map_batches``, from the column ``group`` to the column ``done``, both pickled.

    Each actor ranks in a process of its own, which costs only the row's document if it dies or is stuck.
    """

    def __init__(self, ranker: Ranker) -> None:
        self._ranker = ranker
        self._worker = Worker(ranker)
        atexit.register(self._close)  # else Python would wait for the process, and the process for groups

    def __call__(self, batch: _Batch) -> _Batch:
        done = [pickle.dumps(self._ranked(pickle.loads(group))) for group in batch["group"]]
        return {"done": np.array(done, dtype=object)}

    def _ranked(self, group: Group) -> list[Done]:
        if self._worker.ended:
            self._worker = Worker(self._ranker)
        self._worker.give(group)
        ranked = []
        while self._worker.unanswered:
            done = self._worker.take()
            if done is not None:
                ranked.append(done)
        return ranked

    def _close(self) -> None:
        self._worker.pipe.close()


def rank_on_ray(
    groups: Iterable[Group], ranker: Ranker, workers: int, *, address: str, cpus: float = 1, gpus: float = 0
) -> Iterator[Done]:
    """Ranks groups on a Ray cluster. When an actor dies, Ray gives its groups to another one.

    Args:
        groups: Groups of rows.
        ranker: How to load the engine and rank.
        workers: Number of actors, each with an engine.
        address: As for ``ray.init``: ``"auto"``, ``"ray://host:10001"``, or ``"local"``, which starts Ray here.
        cpus: CPUs of each actor.
        gpus: GPUs of each actor; 0.5 lets two actors share one.

    Yields:
        Rows of the groups, as blocks of groups are done.

    Raises:
        MissingDependency: Ray is not installed.
        Exception: Whatever Ray raises.
    """
    try:
        import ray
        from ray.data import ActorPoolStrategy
    except ImportError as error:
        raise MissingDependency(f'{error}: pip install "ziprerank[ray]"') from error
    items = [{"group": pickle.dumps(group)} for group in groups]
    if not items:
        return
    ours = not ray.is_initialized()
    if ours:
        ray.init(address=address, include_dashboard=False if address == "local" else None, log_to_driver=False)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        ranked = ray.data.from_items(items, override_num_blocks=min(len(items), 16 * workers)).map_batches(
            RankGroups,
            fn_constructor_args=(ranker,),
            batch_size=1,
            compute=ActorPoolStrategy(size=workers),
            num_cpus=cpus,
            num_gpus=gpus or None,
        )
        for row in ranked.iter_rows():
            yield from pickle.loads(row["done"])
    finally:
        if ours:
            ray.shutdown()
