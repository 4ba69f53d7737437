"""Random Qwen3-VL checkpoints in Hugging Face format, written by transformers' own classes."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

PROCESSOR = {
    "image_processor_type": "Qwen2VLImageProcessorFast",
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "patch_size": 16,
    "merge_size": 2,
    "temporal_patch_size": 2,
    "size": {"longest_edge": 16777216, "shortest_edge": 65536},
}


@dataclass(frozen=True)
class Shape:
    """What differs between the checkpoints that the tests export."""

    tied: bool = False
    layers: int = 3
    heads: int = 4
    kv_heads: int = 2
    vision_depth: int = 4
    vision_heads: int = 2
    deepstack: tuple[int, ...] = (0, 1, 2)
    dtype: torch.dtype = torch.float32
    sharded: bool = False


def save_random_checkpoint(out: Path, shape: Shape, tokenizer: Path, seed: int = 0) -> Path:
    """Write a checkpoint of ``shape`` with random weights to ``out``; ids are those of the real Qwen3 tokenizer."""
    torch.manual_seed(seed)
    config = Qwen3VLConfig(
        text_config={
            "hidden_size": 64,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "head_dim": 32,
            "intermediate_size": 96,
            "vocab_size": 151936,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": shape.tied,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5e6,
                "mrope_interleaved": True,
                "mrope_section": [6, 5, 5],
            },
        },
        vision_config={
            "depth": shape.vision_depth,
            "hidden_size": 48,
            "num_heads": shape.vision_heads,
            "intermediate_size": 80,
            "num_position_embeddings": 144,
            "out_hidden_size": 64,
            "deepstack_visual_indexes": list(shape.deepstack),
        },
        image_token_id=151655,
        video_token_id=151656,
        vision_start_token_id=151652,
        vision_end_token_id=151653,
        tie_word_embeddings=shape.tied,
    )
    model = Qwen3VLForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():  # large enough that every part of the model shows in the logits
            parameter.copy_(
                torch.randn_like(parameter) * (0.3 if parameter.dim() == 1 else parameter.shape[-1] ** -0.5)
            )
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight") or "layernorm" in name or (".norm" in name and name.endswith("weight")):
                parameter.add_(1.0)
    model.to(shape.dtype).save_pretrained(out, max_shard_size="8MB" if shape.sharded else "5GB")
    (out / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    shutil.copyfile(tokenizer, out / "tokenizer.json")
    return out
