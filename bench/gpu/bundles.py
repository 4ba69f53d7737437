"""The bundles that are measured: exported for one GPU only, from a checkpoint with weights or without."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from ziprerank.bundle import Bundle
    from ziprerank.export.checkpoint import Checkpoint, Tensors
    from ziprerank.export.linear import Linear

HOPPER = 90
"""The compute capability that is counted for."""


def export(checkpoint: Path, out: Path, precision: str, capability: int | None) -> Path:
    """Exports a bundle with kernels for one GPU only, which takes seconds instead of minutes.

    Args:
        checkpoint: what to export.
        out: a new folder.
        precision: of the bundle.
        capability: of the GPU, 90 for 9.0; None exports for the CPU.
    """
    from ziprerank.export import ExportOptions, export_checkpoint
    from ziprerank.export.precision import precision_for
    from ziprerank.kernels import compile_kernels

    target = "cpu" if capability is None else "cuda"
    export_checkpoint(
        str(checkpoint), out, ExportOptions(target=target, precision=precision, longest_side=1024, window=20, stride=10)
    )
    if capability is not None:
        model = json.loads((out / "ziprerank.json").read_text(encoding="utf-8"))["model"]
        compute = precision_for(target, precision).compute
        compile_kernels(out / "kernels", model["hidden_size"], compute, model["levels"], targets=[capability])
    return out


def hollow_bundle(folder: Path, precision: str, layers: int, *, tiny: bool) -> Bundle:
    """Exports a bundle of the 8B model's shapes, or small ones, whose weights are zeros: for counting.

    It takes no room on the disk.

    Args:
        folder: where checkpoint and bundle are written; the checkpoint once for all precisions.
        precision: of the bundle.
        layers: of the decoder, in place of 36.
        tiny: small shapes.
    """
    import torch
    from ziprerank.bundle import Bundle

    from .checkpoint import shape_8b, shape_tiny, write_hollow_checkpoint

    checkpoint = folder / "checkpoint"
    if not checkpoint.exists():
        write_hollow_checkpoint(checkpoint, shape_tiny(torch.bfloat16) if tiny else shape_8b(layers))
    with patch("ziprerank.export.bundle.pack_weights", _pack_zeros):  # 7 billion zeros would take minutes to quantise
        return Bundle.load(export(checkpoint, folder / precision, precision, HOPPER), check="size")


def _pack_zeros(checkpoint: Checkpoint, linear: Linear, letters: Sequence[int], folder: Path) -> Tensors:
    """What `pack_weights` writes for a checkpoint of zeros, in a sparse file: packs only one row of each layer."""
    from ziprerank.export.checkpoint import PACKED_DTYPES, Tensors, read_shard
    from ziprerank.export.pack import is_quantised, pack_tensor

    from .checkpoint import write_sparse

    packed = {}
    for name, tensor in checkpoint.tensors.items():
        rows, first = tensor.shape[0], tensor
        if is_quantised(name, tensor):
            first = replace(tensor, shape=(1, *tensor.shape[1:]))
        for key, values in pack_tensor(checkpoint, linear, letters, name, first).items():
            shape = values.shape if first is tensor else (rows, *values.shape[1:])
            packed[key] = values.dtype.name, shape
    file = folder / "packed-00001.safetensors"
    write_sparse(file, packed)
    return Tensors(checkpoint.config, read_shard(file, PACKED_DTYPES), str(folder))


def shapes(bundle: Bundle, page: tuple[int, int]) -> dict[str, Any]:
    """What two rows must have in common to be about the same work: the page in px, the precision, the model's sizes."""
    from ziprerank.export.manifest import precision_name, read_manifest

    return {"page": list(page), "precision": precision_name(read_manifest(bundle.path)), "model": dict(bundle.model)}
