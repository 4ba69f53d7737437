"""A GPU's energy and memory, read by NVIDIA's management library (``pip install nvidia-ml-py``).

Readings are None on a CPU, and without NVML, a driver or a counter (GPUs before Volta have none).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Joules = Callable[[], float | None]


def energy_counter(provider: str) -> Joules:
    """Returns a function that reads the joules used since the driver was loaded.

    Args:
        provider: "cuda" or "cuda:N" names the GPU; with any other the function returns None.
    """
    gpu = _gpu(provider)
    if gpu is None:
        return lambda: None
    library, handle = gpu
    try:
        library.nvmlDeviceGetTotalEnergyConsumption(handle)
    except library.NVMLError:
        return lambda: None
    return lambda: float(library.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3


def memory_mb(provider: str) -> float | None:
    """Returns the MB of the GPU's memory in use by all processes."""
    gpu = _gpu(provider)
    return None if gpu is None else float(gpu[0].nvmlDeviceGetMemoryInfo(gpu[1]).used) / 2**20


def between(before: float | None, after: float | None) -> float | None:
    """Returns the difference of two readings, or None if one could not be read."""
    return None if before is None or after is None else after - before


def total(*parts: float | None) -> float | None:
    """Adds readings of several stages; None if one of them could not be read."""
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _gpu(provider: str) -> tuple[Any, Any] | None:
    """Returns the library and the GPU's handle, or None."""
    if not provider.startswith("cuda"):
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        return pynvml, pynvml.nvmlDeviceGetHandleByIndex(int(provider.partition(":")[2] or 0))
    except pynvml.NVMLError:
        return None
