"""Fixtures: a job of 40 documents and 5 queries, the default bundle with small pages, and the command as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from batch_job import Job, make_job
from small_bundle import copy_default_bundle
from ziprerank.reranker import Reranker

Command = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle") / "small"
    return copy_default_bundle(out, 128, min_pixels=1024, dpi=None)


@pytest.fixture(scope="session")
def reranker(bundle_path: Path) -> Reranker:
    return Reranker.from_bundle(bundle_path, check="size", threads=1)


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return make_job(tmp_path_factory.mktemp("job"))


@pytest.fixture
def command() -> Iterator[Command]:
    """A function that starts ``ziprerank batch`` with arguments; processes that still run at the end are killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", "from ziprerank.cli.app import app; app()", "batch", *map(str, arguments)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
