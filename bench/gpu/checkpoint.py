"""A checkpoint of the 8B model's shapes with random weights, written on the spot: times do not depend on what they are.

Its tokenizer is the small models', whose ids lie far below the 8B model's 151,936.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
from ziprerank.bundle import default_bundle
from ziprerank.train.checkpoint import PARTS

SHARD_BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class Shape:
    """What is written over the small model's ``text_config`` and ``vision_config``."""

    dtype: torch.dtype
    text: dict[str, Any]
    vision: dict[str, Any]


def shape_8b(layers: int) -> Shape:
    """Returns the shapes of Qwen3-VL-8B with ``layers`` decoder layers instead of 36."""
    text = {
        "hidden_size": 4096, "num_hidden_layers": layers, "num_attention_heads": 32, "num_key_value_heads": 8,
        "head_dim": 128, "intermediate_size": 12288, "vocab_size": 151936, "max_position_embeddings": 262144,
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 5e6, "mrope_interleaved": True, "mrope_section": [24, 20, 20]
        },
    }  # fmt: skip
    vision = {
        "depth": 27, "hidden_size": 1152, "num_heads": 16, "intermediate_size": 4304, "out_hidden_size": 4096,
        "num_position_embeddings": 2304, "deepstack_visual_indexes": [8, 16, 24],
    }  # fmt: skip
    return Shape(torch.bfloat16, text, vision)


def shape_tiny(dtype: torch.dtype = torch.float32) -> Shape:
    """Returns small shapes, for a machine without a GPU."""
    text = {
        "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
        "intermediate_size": 96,
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 5e6, "mrope_interleaved": True, "mrope_section": [6, 5, 5]
        },
    }  # fmt: skip
    vision = {
        "depth": 4, "hidden_size": 48, "num_heads": 2, "intermediate_size": 80, "out_hidden_size": 64,
        "num_position_embeddings": 144, "deepstack_visual_indexes": [0, 1, 2],
    }  # fmt: skip
    return Shape(dtype, text, vision)


def write_checkpoint(out: Path, shape: Shape, device: torch.device) -> Path:
    """Hugging Face format, untied; ``device`` makes the random numbers."""
    tensors = _write_configuration(out, shape)
    generator = torch.Generator(device).manual_seed(0)
    shard: dict[str, torch.Tensor] = {}
    weight_map: dict[str, str] = {}
    files = 0

    def save() -> None:
        nonlocal files
        files += 1
        file = f"model-{files:05}.safetensors"
        save_file(shard, out / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(shard, file))
        shard.clear()

    for name, tensor in tensors.items():
        value = torch.randn(tensor.shape, generator=generator, device=device, dtype=torch.float32)
        if tensor.dim() == 1:
            value = 0.1 * value + float("norm" in name and name.endswith("weight"))
        else:
            value *= tensor[0].numel() ** -0.5
        shard[name] = value.to(shape.dtype).cpu()
        if sum(part.nbytes for part in shard.values()) > SHARD_BYTES:
            save()
    save()
    _write_index(out, weight_map)
    return out


def write_hollow_checkpoint(out: Path, shape: Shape) -> Path:
    """The same with zeros as weights, in sparse files that take no room on the disk: for counting, not for values."""
    tensors = _write_configuration(out, shape)
    dtype = str(shape.dtype).removeprefix("torch.")
    file = out / "model-00001.safetensors"
    write_sparse(file, {name: (dtype, tuple(tensor.shape)) for name, tensor in tensors.items()})
    _write_index(out, dict.fromkeys(tensors, file.name))
    return out


def write_sparse(file: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    """Writes a safetensors file of zeros that takes no room on the disk; ``tensors`` are dtypes and shapes by name."""
    header: dict[str, Any] = {}
    end = 0
    for name, (dtype, shape) in tensors.items():
        kind, width = {"bfloat16": ("BF16", 2), "float32": ("F32", 4), "uint8": ("U8", 1)}[dtype]
        begin, end = end, end + width * math.prod(shape)
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the data to 8 bytes
    with file.open("wb") as opened:
        opened.write(len(text).to_bytes(8, "little") + text)
        opened.truncate(8 + len(text) + end)


def _write_index(out: Path, weight_map: dict[str, str]) -> None:
    index = {"metadata": {}, "weight_map": weight_map}
    (out / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _write_configuration(out: Path, shape: Shape) -> dict[str, torch.Tensor]:
    """Writes all files but the weights, and returns those without values."""
    out.mkdir(parents=True)
    dtype = str(shape.dtype).removeprefix("torch.")
    values: dict[str, Any] = json.loads((PARTS / "start" / "config.json").read_text(encoding="utf-8"))
    values["text_config"] = {**values["text_config"], **shape.text, "tie_word_embeddings": False, "dtype": dtype}
    values["vision_config"] = {**values["vision_config"], **shape.vision, "dtype": dtype}
    values |= {"tie_word_embeddings": False, "dtype": dtype}
    (out / "config.json").write_text(json.dumps(values, indent=1), encoding="utf-8")
    parts = (PARTS / "start" / "prompt.json", PARTS / "default" / "preprocessor_config.json")
    for file in (*parts, default_bundle() / "tokenizer.json"):
        shutil.copyfile(file, out / file.name)
    with torch.device("meta"):
        return Qwen3VLForConditionalGeneration(Qwen3VLConfig(**values)).state_dict()
