"""``pytest -m gpu``: what only a GPU can show. Without one every test here is skipped, and says what is missing.

Run them alone: beside other tests Triton is imported as an interpreter (tests/conftest.py).
"""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def gpu() -> str:
    """The device's name; skips where PyTorch has no CUDA device, or Triton interprets."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device for PyTorch: needs an NVIDIA GPU, its driver, and a CUDA build of PyTorch")
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("TRITON_INTERPRET=1: run pytest -m gpu, which leaves it out")
    return str(torch.cuda.get_device_name())
