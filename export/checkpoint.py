"""A Hugging Face checkpoint: its configuration files, and its tensors by name in memory-mapped safetensors shards."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from ziprerank.strict_json import Fields, read_fields

from .config import EMBEDDINGS, HEAD, ModelConfig
from .errors import CheckpointError
from .processor import Processor
from .shards import PACKED_DTYPES, Tensor, read_shard, read_tensors

__all__ = ["PACKED_DTYPES", "Checkpoint", "Tensor", "Tensors", "read_shard"]

HUB_FILES = ["*.json", "*.safetensors"]


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

    @property
    def head_name(self) -> str:
        """Name of the tensor whose rows are the output head's.

        A head that is stored is the head, whatever ``tie_word_embeddings`` says: transformers ties two tensors that are
        both stored only where they are equal.
        """
        return EMBEDDINGS if self.config.decoder.tied and HEAD not in self.tensors else HEAD


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
        super().__init__(ModelConfig.parse(self.fields("config.json")), read_tensors(path), str(path))

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
        return self.fields(name).values

    def fields(self, name: str) -> Fields:
        """Reads a JSON file of the checkpoint, for values that are read by type and range. Raises as ``json``."""
        content = self.optional_json(name)
        if content is None:
            raise CheckpointError(f"{self.path} has no {name}")
        return Fields(content, name, CheckpointError)

    def optional_json(self, name: str) -> dict[str, Any] | None:
        """Reads a JSON file of the checkpoint; None if it is missing.

        Raises:
            CheckpointError: It is not a JSON object.
        """
        try:
            return read_fields(self.path / name, CheckpointError).values
        except FileNotFoundError:
            return None

    @property
    def processor(self) -> Processor:
        """What ``preprocessor_config.json`` says. Raises CheckpointError."""
        return Processor.parse(self.fields("preprocessor_config.json"))

    @property
    def shards(self) -> list[Path]:
        """The safetensors files that hold the tensors, sorted by name."""
        return sorted({tensor.file for tensor in self.tensors.values()})

    @property
    def parameters(self) -> int:
        """Number of values over all tensors."""
        return sum(prod(tensor.shape) for tensor in self.tensors.values())
