"""Micro-batches on their way to the model: made ahead in a thread, moved to its device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

AHEAD = 2
"""Micro-batches made ahead of the one in use."""


@contextmanager
def ahead(make: Callable[[int], Any], first: int, end: int) -> Iterator[Iterator[Any]]:
    """``make(first)``, ``make(first + 1)``, ... up to ``end``, made by one thread, `AHEAD` before their use."""
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        waiting: list[Future[Any]] = []

        def batches() -> Iterator[Any]:
            number = first
            while waiting or number < end:
                while number < end and len(waiting) <= AHEAD:
                    waiting.append(pool.submit(make, number))
                    number += 1
                yield waiting.pop(0).result()

        try:
            yield batches()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def move(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: move(value, device) for key, value in batch.items()}
    if type(batch) in (tuple, list):
        return type(batch)(move(value, device) for value in batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        fields = (field.name for field in dataclasses.fields(batch) if field.init)
        return dataclasses.replace(batch, **{name: move(getattr(batch, name), device) for name in fields})
    return batch
