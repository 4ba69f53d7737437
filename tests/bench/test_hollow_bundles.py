"""Bundles of zeros have the tensors of bundles that were exported from weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from ziprerank.export.shards import PACKED_DTYPES, read_shard

from bench.gpu.bundles import HOPPER, export, hollow_bundle


def tensors(bundle: Path) -> dict[str, tuple[object, tuple[int, ...]]]:
    """Dtypes and shapes by name."""
    shards = [read_shard(file, PACKED_DTYPES) for file in bundle.glob("packed-*.safetensors")]
    return {name: (tensor.dtype, tensor.shape) for shard in shards for name, tensor in shard.items()}


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_packed_weights_have_their_shapes(tmp_path: Path, precision: str) -> None:
    hollow = hollow_bundle(tmp_path, precision, 2, tiny=True)
    real = export(tmp_path / "checkpoint", tmp_path / "real", precision, HOPPER)
    assert tensors(hollow.path) == tensors(real) != {}
