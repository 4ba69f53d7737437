"""The device's best rates, measured in the same run: bytes moved by a copy, operations of a matrix product.

A copy counts what it reads and what it writes; a product of ``[m, k]`` and ``[k, n]`` counts ``2 m k n`` operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from ziprerank.comparison.machine import quantiles

from .device import Device

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
RUNS = 15


@dataclass(frozen=True, slots=True)
class Roofline:
    """Operations a second of a product and bytes a second of a copy, by the medians of several runs."""

    dtype: str
    gemm: float
    copy: float

    @classmethod
    def measure(cls, device: Device, dtype: str, *, quick: bool) -> Roofline:
        """Measures a product of two 8192 x 8192 matrices and a copy of 1 GiB.

        cuBLAS runs the product on the tensor cores, except in fp32, for which TF32 is off.
        """
        side, size = (128, 1 << 16) if quick else (8192, 1 << 30)
        left, right = (torch.randn(side, side, device=device.torch).to(DTYPES[dtype]) for _ in range(2))
        return cls(
            dtype,
            2 * side**3 / (_median(device, lambda: left @ right) / 1e3),
            2 * size / (copy_ms(device, 2 * size)["p50"] / 1e3),
        )

    def floor_ms(self, operations: float, moved: float) -> float:
        """Returns the longer of the operations at the product's rate and the bytes at the copy's rate."""
        return max(operations / self.gemm, moved / self.copy) * 1e3

    def row(self) -> dict[str, Any]:
        rates = {"gemm_tflops": float(f"{self.gemm / 1e12:.4g}"), "copy_gb_s": float(f"{self.copy / 1e9:.4g}")}
        return {"what": "roofline", "dtype": self.dtype, **rates}


def copy_ms(device: Device, moved: int) -> dict[str, float]:
    """Times a copy that reads half of ``moved`` bytes and writes the other half."""
    source = torch.zeros(max(1, moved // 2), dtype=torch.uint8, device=device.torch)
    target = torch.empty_like(source)
    device.times_ms(lambda: target.copy_(source), 2)
    return quantiles(device.times_ms(lambda: target.copy_(source), RUNS))


def product_ms(device: Device, rows: int, depth: int, columns: int, dtype: str) -> dict[str, float]:
    """Times ``[rows, depth] @ [depth, columns]`` by cuBLAS."""
    left, right = (
        torch.randn(*shape, device=device.torch).to(DTYPES[dtype]) for shape in ((rows, depth), (depth, columns))
    )
    device.times_ms(lambda: left @ right, 2)
    return quantiles(device.times_ms(lambda: left @ right, RUNS))


def _median(device: Device, run: Any) -> float:
    device.times_ms(run, 2)
    return quantiles(device.times_ms(run, RUNS))["p50"]
