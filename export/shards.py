"""Where tensors are stored: safetensors files, and the index over several of them. Both come from outside."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from ziprerank.strict_json import Fields, is_plain_name, open_regular, parse_object, read_fields

from .errors import CheckpointError

_DTYPES = {
    "F32": ir.DataType.FLOAT,
    "F16": ir.DataType.FLOAT16,
    "BF16": ir.DataType.BFLOAT16,
    "U8": ir.DataType.UINT8,
    "I8": ir.DataType.INT8,
    "F8_E4M3": ir.DataType.FLOAT8E4M3FN,
}
CHECKPOINT_DTYPES = ("F32", "F16", "BF16")
PACKED_DTYPES = tuple(_DTYPES)
_HEADER_LIMIT = 16 << 20  # bytes: 100,000 tensors; the format itself allows 100 MB
_INDEX_LIMIT = 64 << 20
_MOST_DIMENSIONS = 8
_MOST_SIZE = 1 << 40
_MOST_OFFSET = 1 << 62


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor is stored: ``length`` bytes at ``offset`` of ``file``, row-major, little-endian."""

    name: str
    file: Path
    dtype: ir.DataType
    shape: tuple[int, ...]
    offset: int
    length: int

    def numpy(self) -> np.ndarray[Any, Any]:
        """Maps the values into memory; no byte is read before it is used."""
        return np.memmap(self.file, dtype=self.dtype.numpy(), mode="r", offset=self.offset, shape=self.shape)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Reads where the tensors of a checkpoint's directory are stored.

    Raises:
        CheckpointError: There are none, or the index or a shard is not what it must be.
    """
    index = path / "model.safetensors.index.json"
    try:
        fields = read_fields(index, CheckpointError, file=index.name, most=_INDEX_LIMIT)
    except FileNotFoundError:
        file = path / "model.safetensors"
        if not os.path.lexists(file):
            raise CheckpointError(f"{path} has neither model.safetensors nor model.safetensors.index.json") from None
        return read_shard(file)
    places = fields.object("weight_map")
    shards: dict[str, dict[str, Tensor]] = {}
    for name in places:
        shard = places.text(name)
        # the index comes from elsewhere, so it must not name a file outside this directory
        if "/" in shard or not is_plain_name(shard):
            raise CheckpointError(
                f"{index.name} names the shard {shard[:255]!r}: shards lie in the checkpoint's own directory"
            )
        if shard not in shards:
            shards[shard] = read_shard(path / shard)
        if name not in shards[shard]:
            places.refuse(name, f"is not in the shard {shard}: download the checkpoint again")
    return _merged(shards)


def _merged(shards: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for shard in sorted(shards):
        for name, tensor in shards[shard].items():
            if name in tensors:
                raise CheckpointError(f"tensor {name!r} is in two shards, {tensors[name].file.name} and {shard}")
            tensors[name] = tensor
    return tensors


def read_shard(file: Path, dtypes: Sequence[str] = CHECKPOINT_DTYPES) -> dict[str, Tensor]:
    """Reads where the tensors of one safetensors file are stored.

    Raises:
        CheckpointError: The file is missing, truncated, not a safetensors file, or has a dtype not in ``dtypes``.
    """
    header, start, size = _read_header(file)
    tensors = {
        name: _tensor(file, name, header.object(name), dtypes, start, size) for name in header if name != "__metadata__"
    }
    end = start
    for tensor in sorted(tensors.values(), key=lambda one: (one.offset, one.length)):
        if tensor.offset < end:
            raise CheckpointError(f"tensor {tensor.name!r} of {file} overlaps another: its bytes begin before {end}")
        end = tensor.offset + tensor.length
    return tensors


def _read_header(file: Path) -> tuple[Fields, int, int]:
    """The header's object, where the data begin, and the bytes of the file."""
    try:
        with os.fdopen(open_regular(file, CheckpointError), "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            prefix = stream.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
            if not 2 <= length <= size - 8:
                raise CheckpointError(f"the shard {file} is truncated or not a safetensors file ({size} bytes)")
            if length > _HEADER_LIMIT:
                raise CheckpointError(
                    f"the header of {file} has {length:,} bytes, at most {_HEADER_LIMIT:,}: save it in more shards"
                )
            content = stream.read(length)
    except FileNotFoundError:
        raise CheckpointError(f"the shard {file} is missing: download the checkpoint again") from None
    except OSError as error:
        raise CheckpointError(f"the shard {file} cannot be read: {error.strerror}") from error
    name = f"the header of {file}"
    return Fields(parse_object(content, name, CheckpointError), name, CheckpointError), 8 + length, size


def _tensor(file: Path, name: str, entry: Fields, dtypes: Sequence[str], start: int, size: int) -> Tensor:
    begin, end = entry.wholes("data_offsets", (2, 2), 0, _MOST_OFFSET)
    if end < begin:
        entry.refuse("data_offsets", f"end at {end}, before they begin at {begin}")
    if start + end > size:
        raise CheckpointError(
            f"the shard {file} is truncated: tensor {name!r} ends at byte {start + end}, the file at {size}; "
            "download it again"
        )
    kind = entry.text("dtype", most=32)
    if kind not in dtypes:
        raise CheckpointError(f"tensor {name!r} is {kind}: the export reads {', '.join(dtypes)}")
    dtype, shape = _DTYPES[kind], tuple(entry.wholes("shape", (0, _MOST_DIMENSIONS), 1, _MOST_SIZE))
    if end - begin != prod(shape) * dtype.itemsize:
        raise CheckpointError(f"tensor {name!r} of {file} has {end - begin} bytes for shape {list(shape)}")
    return Tensor(name, file, dtype, shape, start + begin, end - begin)
