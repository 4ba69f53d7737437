"""Errors of the pruning kernels: each names the value, the limit and the way out."""


class KernelError(ValueError):
    """Tensors that cannot be pruned as given, or a kernel that cannot be compiled or was not."""
