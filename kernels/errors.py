"""Errors of the pruning kernels. Each message names the value, the limit and the way out."""

from ziprerank.errors import ZipRerankError


class KernelError(ZipRerankError, ValueError):
    """Tensors cannot be pruned as given, or a kernel cannot be compiled or is missing."""
