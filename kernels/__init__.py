"""Query-image token pruning. `ziprerank.kernels.reference` is its specification, in plain PyTorch."""
