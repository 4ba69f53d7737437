"""What NVIDIA's management library reads of a GPU (``pip install nvidia-ml-py``): energy it has used, and its memory.

None where there is no NVML, driver or counter (before Volta), and for a CPU: rows then say null.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Joules = Callable[[], float | None]


def energy_counter(provider: str) -> Joules:
    """Joules since the driver was loaded, of the GPU that ``provider`` ("cuda", "cuda:1") names."""
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
    """Memory of that GPU in use by all processes."""
    gpu = _gpu(provider)
    return None if gpu is None else float(gpu[0].nvmlDeviceGetMemoryInfo(gpu[1]).used) / 2**20


def between(before: float | None, after: float | None) -> float | None:
    """From one reading to the next."""
    return None if before is None or after is None else after - before


def total(*parts: float | None) -> float | None:
    """Of several stages; none where one of them could not be read."""
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _gpu(provider: str) -> tuple[Any, Any] | None:
    """The library and the GPU's handle."""
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
