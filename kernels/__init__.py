"""Query-image token pruning: Triton kernels, their PyTorch front, and their compilation ahead of time.

`ziprerank.kernels.reference` is the specification, in plain PyTorch. `prune`, `prune_pool` and `gather_kept` work on
tensors (they need PyTorch, and on CUDA Triton: extra ``kernels``). `compile_kernels` writes the cubins of a bundle (it
needs Triton, but no GPU). Names are imported on first use, so the package itself needs neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import KernelError

if TYPE_CHECKING:
    from .aot import CompiledKernel, compile_kernels, describe
    from .front import Pruned, gather_kept, implementation, prune, prune_pool

__all__ = [
    "CompiledKernel",
    "KernelError",
    "Pruned",
    "compile_kernels",
    "describe",
    "gather_kept",
    "implementation",
    "prune",
    "prune_pool",
]

_AOT = ("CompiledKernel", "compile_kernels", "describe")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(".aot" if name in _AOT else ".front", __name__), name)
