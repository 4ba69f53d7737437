"""Asks the CUDA driver which GPUs there are, and ONNX Runtime's CUDA provider whether it has code for them."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR


def capabilities() -> list[int | None]:
    """The compute capability of each GPU, 90 for 9.0, None where the driver does not say; empty without a GPU.

    The driver is that of the system, or what stands in for it (ZIPRERANK_CUDA_DRIVER).
    """
    try:
        driver = ctypes.CDLL(os.environ.get("ZIPRERANK_CUDA_DRIVER") or "libcuda.so.1")
        count = ctypes.c_int(0)
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return []
    except (OSError, AttributeError):
        return []
    return [_capability(driver, number) for number in range(count.value)]


def without_code(library: Path, number: int) -> str | None:
    """What is missing where ``library``, ONNX Runtime's CUDA provider, has no code for GPU ``number``; else None.

    The engine refuses the provider there, with the same words. None too where the driver or the library does not say,
    and where the engine cannot be imported.
    """
    gpus = capabilities()
    capability = gpus[number] if number < len(gpus) else None
    if capability is None:
        return None
    try:
        from ziprerank._engine import device_code
    except ImportError:
        return None
    return device_code(str(library)).lack(capability, number) or None


def _capability(driver: ctypes.CDLL, number: int) -> int | None:
    device, value = ctypes.c_int(), ctypes.c_int()
    parts = []
    try:
        if driver.cuDeviceGet(ctypes.byref(device), number) != 0:
            return None
        for attribute in (_MAJOR, _MINOR):
            if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device) != 0:
                return None
            parts.append(value.value)
    except AttributeError:
        return None
    return parts[0] * 10 + parts[1]
