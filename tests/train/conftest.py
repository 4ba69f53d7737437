from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from built_once import built_once
from ranking_data import write_ranking_data


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """The models here are too small for threads, and sums of as many threads as there are cores differ in rounding."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `write_ranking_data`; tests do not change it."""
    return built_once(tmp_path_factory, "ranking-data", write_ranking_data)
