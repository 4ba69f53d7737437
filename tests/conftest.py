"""Settings that must be made before any test module is imported."""

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Set the variables that libraries read when they are first imported."""
    if config.getoption("markexpr").strip() != "gpu":
        os.environ.setdefault("TRITON_INTERPRET", "1")  # before transformers imports Triton
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes > 1:  # so that all processes together have one thread for each processor
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
