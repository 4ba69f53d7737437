"""Quantised weights on disk: a bundle's own shards, which hold what the graphs read and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from .checkpoint import PACKED_DTYPES, Checkpoint, Tensor, Tensors, read_shard
from .config import HEAD
from .linear import Linear
from .quantise import Array
from .rerank import LETTER_ROWS, PREFIX

SHARD_BYTES = 1 << 30  # a shard is written once it has this much, so memory holds little more
FOLDED = "model.visual.patch_embed.proj."  # folded into derived.safetensors


def pack_weights(checkpoint: Checkpoint, linear: Linear, letters: Sequence[int], folder: Path) -> Tensors:
    """Writes the checkpoint's tensors to ``folder``, with the decoder's linear layers quantised.

    Args:
        checkpoint: Where the tensors come from.
        linear: How the decoder's linear layers are stored.
        letters: Token ids of the letters, whose rows of the output head are stored; none for yes and no, whose row is
            computed.
        folder: Where the shards ``packed-00001.safetensors`` and so on are written.

    Returns:
        The tensors in these shards.
    """
    waiting: dict[str, Array] = {}
    tensors: dict[str, Tensor] = {}

    def flush() -> None:
        file = folder / f"packed-{len({tensor.file for tensor in tensors.values()}) + 1:05}.safetensors"
        save_file(waiting, file)
        file.chmod(0o644)
        tensors.update(read_shard(file, PACKED_DTYPES))
        waiting.clear()

    for name, tensor in checkpoint.tensors.items():
        waiting.update(pack_tensor(checkpoint, linear, letters, name, tensor))
        if sum(array.nbytes for array in waiting.values()) >= SHARD_BYTES:
            flush()
    if waiting:
        flush()
    return Tensors(checkpoint.config, tensors, str(folder))


def is_quantised(name: str, tensor: Tensor) -> bool:
    """Whether the tensor is the weight of a linear layer of the decoder: a matrix in one of its layers."""
    return name.startswith(f"{PREFIX}.layers.") and name.endswith(".weight") and len(tensor.shape) == 2


def as_stored(checkpoint: Checkpoint, letters: Sequence[int]) -> list[str]:
    """Lists the tensors that keep the checkpoint's dtype, as patterns: ``*`` replaces the numbers of layers.

    Args:
        checkpoint: Where the tensors come from.
        letters: As in `pack_weights`.
    """
    kept = [name for name, tensor in checkpoint.tensors.items() if not is_quantised(name, tensor)]
    decoder = {re.sub(r"\.\d+\.", ".*.", name) for name in kept if name.startswith(PREFIX)}
    return sorted({*([LETTER_ROWS] if letters else []), "model.visual.*", *decoder})


def pack_tensor(
    checkpoint: Checkpoint, linear: Linear, letters: Sequence[int], name: str, tensor: Tensor
) -> dict[str, Array]:
    """Returns what is stored in place of one of the checkpoint's tensors, by name; nothing where it is not read."""
    if name.startswith(FOLDED):
        return {}
    values = tensor.numpy()
    if is_quantised(name, tensor):
        return linear.pack(name.removesuffix(".weight"), values)
    packed = {} if name == HEAD else {name: np.asarray(values)}
    if letters and name == checkpoint.head_name:
        packed[LETTER_ROWS] = values[list(letters)]
    return packed
