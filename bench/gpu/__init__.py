"""Measurements on a GPU (``python -m bench.gpu --help``).

The pruning kernels are compared with the memory's speed, and ziprerank with transformers on a checkpoint of the 8B
model's shapes.
"""
