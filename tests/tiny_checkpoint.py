"""Random Qwen3-VL checkpoints with the small models' tokenizer: quick to train, and with parts that those lack."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
from ziprerank.bundle import default_bundle
from ziprerank.train.checkpoint import PARTS

TOKENIZER = default_bundle() / "tokenizer.json"


def save_tiny_checkpoint(out: Path, *, seed: int = 0, tied: bool = False, layers: int = 3, scale: float = 1.0) -> Path:
    """Write it to ``out``; shapes are those of the 8B model in small: untied, three DeepStack levels, grouped heads."""
    config: dict[str, Any] = json.loads((PARTS / "start" / "config.json").read_text())
    text, vision = config["text_config"], config["vision_config"]
    text |= {"hidden_size": 32, "num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": 2}
    text |= {"head_dim": 16, "intermediate_size": 48, "tie_word_embeddings": tied}
    text["rope_parameters"] = {
        "rope_type": "default", "rope_theta": 5e6, "mrope_interleaved": True, "mrope_section": [4, 2, 2],
    }  # fmt: skip
    text.pop("rope_theta", None)
    vision |= {"depth": 4, "hidden_size": 24, "num_heads": 2, "intermediate_size": 40, "num_position_embeddings": 64}
    vision |= {"out_hidden_size": 32, "deepstack_visual_indexes": [0, 1, 2]}
    config |= {"tie_word_embeddings": tied}
    return _save(out, config, seed, scale)


def save_deepstack_checkpoint(out: Path, *, seed: int = 0) -> Path:
    """Write it to ``out``: the small model's shapes with four heads in the decoder, and with DeepStack."""
    config: dict[str, Any] = json.loads((PARTS / "start" / "config.json").read_text())
    config["vision_config"]["deepstack_visual_indexes"] = [1, 2, 3]
    return _save(out, config, seed, 1.0)


def save_wide_heads_checkpoint(out: Path, *, seed: int = 0) -> Path:
    """Write it to ``out``: few and small layers, but heads as wide as the 8B model's, and two for each of keys.

    They are 128 wide in the decoder and 72 in the tower, which is what kernels are chosen by.
    """
    config: dict[str, Any] = json.loads((PARTS / "start" / "config.json").read_text())
    text, vision = config["text_config"], config["vision_config"]
    text |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 128}
    text["rope_parameters"] = {
        "rope_type": "default", "rope_theta": 5e6, "mrope_interleaved": True, "mrope_section": [24, 20, 20],
    }  # fmt: skip
    text.pop("rope_theta", None)
    vision |= {"hidden_size": 144, "num_heads": 2, "deepstack_visual_indexes": [1, 2, 3]}
    return _save(out, config, seed, 1.0)


def _save(out: Path, config: dict[str, Any], seed: int, scale: float) -> Path:
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(**config))
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # large enough that every part shows in the logits
            size = 0.3 if parameter.dim() == 1 else parameter.shape[-1] ** -0.5
            parameter.copy_(torch.randn_like(parameter) * size * scale)
            if name.endswith("norm.weight") or "layernorm" in name or (".norm" in name and name.endswith("weight")):
                parameter.add_(1.0)
    model.save_pretrained(out)
    shutil.copyfile(TOKENIZER, out / "tokenizer.json")
    shutil.copyfile(PARTS / "default" / "preprocessor_config.json", out / "preprocessor_config.json")
    prompt = json.loads((PARTS / "start" / "prompt.json").read_text()) | {"longest_side": 288}
    (out / "prompt.json").write_text(json.dumps(prompt))
    return out
