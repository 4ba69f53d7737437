"""Settings that have to stand before any test module is imported."""

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Triton decides when it is first imported, which transformers does, whether kernels are interpreted."""
    if config.getoption("markexpr").strip() != "gpu":
        os.environ.setdefault("TRITON_INTERPRET", "1")
