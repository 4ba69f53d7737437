"""A Hugging Face checkpoint: its configuration files, and its tensors by name in memory-mapped safetensors shards."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from .config import ModelConfig
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
_HEADER_LIMIT = 100 << 20  # the safetensors format's own limit for its JSON header
HUB_FILES = ["*.json", "*.safetensors"]


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


class Tensors:
    """What a graph is built from: the model's configuration, and its tensors by name.

    Args:
        config: The model's configuration.
        tensors: Where each tensor is stored.
        where: What errors call the place of the tensors.
    """

    def __init__(self, config: ModelConfig, tensors: Mapping[str, Tensor], where: str) -> None:
        self.config = config
        self.tensors = tensors
        self._where = where

    def tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Returns the tensor called ``name``.

        Raises:
            CheckpointError: It is missing, or has another shape.
        """
        tensor = self.tensors.get(name)
        if tensor is None:
            raise CheckpointError(f"{self._where} has no tensor {name!r} (it needs one of shape {list(shape)})")
        if tensor.shape != shape:
            raise CheckpointError(f"tensor {name!r} has shape {list(tensor.shape)}, config.json asks for {list(shape)}")
        return tensor


class Checkpoint(Tensors):
    """An opened checkpoint.

    Args:
        path: Its directory.
        name: What the user called it; the directory's name if None.
        revision: The revision of a hub id.

    Raises:
        CheckpointError: A file is missing, malformed or truncated, or the model is not one that can be exported.
    """

    def __init__(self, path: Path, *, name: str | None = None, revision: str | None = None) -> None:
        if not path.is_dir():
            raise CheckpointError(f"{path} is not a directory: give a checkpoint directory in Hugging Face format")
        self.path = path
        self.name = name or path.resolve().name
        self.revision = revision
        self.config_json = self.json("config.json")
        self.tokenizer_file = path / "tokenizer.json"
        if not self.tokenizer_file.is_file():
            raise CheckpointError(
                f"{path} has no tokenizer.json: save the tokenizer in its fast format beside the model"
            )
        super().__init__(ModelConfig.parse(self.config_json), _read_tensors(path), str(path))

    @staticmethod
    def open(checkpoint: str, *, revision: str | None = None) -> Checkpoint:
        """Opens a directory, or downloads a hub id such as ``mtri-admin/ZipRerank``.

        ``HF_HOME`` and ``HF_HUB_OFFLINE`` are honoured.

        Raises:
            CheckpointError: It is neither a directory nor an available repository, or it cannot be exported.
        """
        path = Path(checkpoint)
        if path.exists():
            if revision is not None:
                raise CheckpointError(f"revision {revision!r} was given for the local directory {checkpoint}: drop it")
            return Checkpoint(path)
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

        try:
            local = snapshot_download(checkpoint, revision=revision, allow_patterns=HUB_FILES)
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise CheckpointError(
                f"{checkpoint} is neither a directory nor an available hub repository: {reason}"
            ) from error
        return Checkpoint(Path(local), name=checkpoint, revision=revision or Path(local).name)

    def json(self, name: str) -> dict[str, Any]:
        """Reads a JSON file of the checkpoint.

        Raises:
            CheckpointError: It is missing, or not a JSON object.
        """
        content = self.optional_json(name)
        if content is None:
            raise CheckpointError(f"{self.path} has no {name}")
        return content

    def optional_json(self, name: str) -> dict[str, Any] | None:
        """Reads a JSON file of the checkpoint; None if it is missing.

        Raises:
            CheckpointError: It is not a JSON object.
        """
        file = self.path / name
        if not file.is_file():
            return None
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise CheckpointError(f"{file} is not valid JSON: {error}") from error
        if not isinstance(content, dict):
            raise CheckpointError(f"{file} holds a {type(content).__name__}, not an object")
        return content

    @property
    def shards(self) -> list[Path]:
        """The safetensors files that hold the tensors, sorted by name."""
        return sorted({tensor.file for tensor in self.tensors.values()})

    @property
    def parameters(self) -> int:
        """Number of values over all tensors."""
        return sum(int(np.prod(tensor.shape)) for tensor in self.tensors.values())


def _read_tensors(path: Path) -> dict[str, Tensor]:
    index = path / "model.safetensors.index.json"
    if not index.is_file():
        file = path / "model.safetensors"
        if not file.is_file():
            raise CheckpointError(f"{path} has neither model.safetensors nor model.safetensors.index.json")
        return read_shard(file)
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())):
        # the index comes from elsewhere, so it must not name a file outside this directory
        if Path(shard).name != shard:
            raise CheckpointError(
                f"{index.name} names the shard {shard!r}: shards lie in the checkpoint's own directory"
            )
        tensors.update(read_shard(path / shard))
    return tensors


def read_shard(file: Path, dtypes: Sequence[str] = CHECKPOINT_DTYPES) -> dict[str, Tensor]:
    """Reads where the tensors of one safetensors file are stored.

    Raises:
        CheckpointError: The file is missing, truncated, not a safetensors file, or has a dtype not in ``dtypes``.
    """
    if not file.is_file():
        raise CheckpointError(f"the shard {file} is missing: download the checkpoint again")
    size = file.stat().st_size
    with file.open("rb") as stream:
        prefix = stream.read(8)
        header_length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 2 <= header_length <= min(_HEADER_LIMIT, size - 8):
            raise CheckpointError(f"the shard {file} is truncated or not a safetensors file ({size} bytes)")
        try:
            header = json.loads(stream.read(header_length))
        except ValueError as error:
            raise CheckpointError(f"the header of {file} is not valid JSON: {error}") from error
    start = 8 + header_length
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        if start + end > size:
            raise CheckpointError(
                f"the shard {file} is truncated: tensor {name!r} ends at byte {start + end}, the file at {size}; "
                "download it again"
            )
        if entry["dtype"] not in dtypes:
            raise CheckpointError(f"tensor {name!r} is {entry['dtype']}: the export reads {', '.join(dtypes)}")
        dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
        if end - begin != int(np.prod(shape)) * dtype.itemsize:
            raise CheckpointError(f"tensor {name!r} of {file} has {end - begin} bytes for shape {list(shape)}")
        tensors[name] = Tensor(name, file, dtype, shape, start + begin, end - begin)
    return tensors
