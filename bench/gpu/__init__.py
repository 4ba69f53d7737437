"""On a GPU: the pruning kernels against the memory's speed, and ziprerank against transformers on a checkpoint of the
8B model's shapes. `python -m bench.gpu --help`."""
