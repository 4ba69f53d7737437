"""Checkpoints and options that the export rejects, and its messages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rewrite import rewrite_json
from safetensors.numpy import load_file, save_file
from ziprerank.export import CheckpointError, ExportError, ExportOptions, export_checkpoint


def damaged_weights(checkpoint: Path, change) -> None:
    file = checkpoint / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    file.unlink()
    save_file(tensors, file)


def refused(checkpoint: Path, tmp_path: Path, match: str, **options) -> None:
    with pytest.raises((CheckpointError, ExportError), match=match):
        export_checkpoint(str(checkpoint), tmp_path / "bundle", ExportOptions(**options))
    assert not (tmp_path / "bundle").exists()
    assert not list(tmp_path.glob(".bundle*")), "nothing half-written stays behind"


def test_another_architecture(own_checkpoint: Path, tmp_path: Path) -> None:
    rewrite_json(own_checkpoint / "config.json", architectures=["LlamaForCausalLM"])
    refused(own_checkpoint, tmp_path, "LlamaForCausalLM is not supported: the export reads Qwen3VLForConditional")


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("text_config", "hidden_act", "gelu"),
        ("text_config", "attention_bias", True),
        ("vision_config", "hidden_act", "relu"),
        ("vision_config", "in_channels", 1),
    ],
)
def test_a_setting_that_the_graphs_do_not_implement(own_checkpoint: Path, tmp_path: Path, section, key, value) -> None:
    config = json.loads((own_checkpoint / "config.json").read_text())
    rewrite_json(own_checkpoint / "config.json", **{section: {**config[section], key: value}})
    refused(own_checkpoint, tmp_path, f"{key} is {value!r} in config.json")


def test_a_missing_tensor(own_checkpoint: Path, tmp_path: Path) -> None:
    name = "model.visual.blocks.1.attn.qkv.weight"
    damaged_weights(own_checkpoint, lambda tensors: tensors.pop(name))
    refused(own_checkpoint, tmp_path, rf"no tensor '{name}' \(it needs one of shape \[144, 48\]\)")


def test_a_misshapen_tensor(own_checkpoint: Path, tmp_path: Path) -> None:
    name = "model.language_model.layers.2.mlp.up_proj.weight"
    damaged_weights(own_checkpoint, lambda tensors: tensors.update({name: np.zeros((95, 64), np.float32)}))
    refused(own_checkpoint, tmp_path, rf"'{name}' has shape \[95, 64\], config.json asks for \[96, 64\]")


def test_a_truncated_shard(own_checkpoint: Path, tmp_path: Path) -> None:
    file = own_checkpoint / "model.safetensors"
    content = file.read_bytes()[:-1000]
    file.unlink()
    file.write_bytes(content)
    refused(own_checkpoint, tmp_path, "truncated: tensor .* ends at byte .* download it again")


def test_a_file_that_is_not_safetensors(own_checkpoint: Path, tmp_path: Path) -> None:
    file = own_checkpoint / "model.safetensors"
    file.unlink()
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    refused(own_checkpoint, tmp_path, "not a safetensors file")


def test_a_shard_outside_the_checkpoint(own_checkpoint: Path, tmp_path: Path) -> None:
    index = {"weight_map": {"lm_head.weight": "../elsewhere.safetensors"}}
    (own_checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(own_checkpoint, tmp_path, "names the shard '../elsewhere.safetensors'")


def test_a_missing_shard(own_checkpoint: Path, tmp_path: Path) -> None:
    index = {"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
    (own_checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(own_checkpoint, tmp_path, "model-00002-of-00002.safetensors is missing")


def test_a_tokenizer_without_the_vision_tokens(own_checkpoint: Path, tmp_path: Path) -> None:
    edit_tokenizer(own_checkpoint, lambda t: [a for a in t["added_tokens"] if a["content"] != "<|image_pad|>"])
    refused(own_checkpoint, tmp_path, r"no token <\|image_pad\|>, config.json says 151655")


def test_a_tokenizer_where_a_letter_is_not_one_token(own_checkpoint: Path, tmp_path: Path) -> None:
    file = own_checkpoint / "tokenizer.json"
    rewrite_json(file, normalizer={"type": "Replace", "pattern": {"String": "T"}, "content": "T\n"})
    refused(own_checkpoint, tmp_path, r"the letter T is not one token in tokenizer.json but \[51, 198\]")


def edit_tokenizer(checkpoint: Path, added_tokens) -> None:
    file = checkpoint / "tokenizer.json"
    content = json.loads(file.read_text())
    rewrite_json(file, added_tokens=added_tokens(content))


def test_no_tokenizer(own_checkpoint: Path, tmp_path: Path) -> None:
    (own_checkpoint / "tokenizer.json").unlink()
    refused(own_checkpoint, tmp_path, "has no tokenizer.json")


def test_no_preprocessor_config(own_checkpoint: Path, tmp_path: Path) -> None:
    (own_checkpoint / "preprocessor_config.json").unlink()
    refused(own_checkpoint, tmp_path, "has no preprocessor_config.json")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"lines": ["no place for it"]}, r"'lines' must hold \{query\} exactly once"),
        ({"page": "<|vision_start|><|vision_end|>"}, r"'page' must hold \{image\} exactly once"),
        ({"suffix": 7}, "'suffix' has the wrong type int"),
        ({"query_case": "upper"}, "query_case is 'upper', this ziprerank knows keep, lower"),
    ],
)
def test_a_broken_prompt(own_checkpoint: Path, tmp_path: Path, change, match) -> None:
    prompt = {
        "prefix": "",
        "lines": ["{query}"],
        "order_item": "",
        "order_separator": "",
        "page": "{image}",
        "suffix": "[",
    }
    (own_checkpoint / "prompt.json").write_text(json.dumps({**prompt, **change}))
    refused(own_checkpoint, tmp_path, match)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"target": "tpu"}, "target 'tpu' is unknown: use one of cpu, cuda"),
        ({"precision": "int3"}, "precision 'int3' is unknown: use one of fp32, fp16, bf16"),
        ({"target": "cpu", "precision": "bf16"}, "precision bf16 on target cpu"),
        ({"keep_ratio": 0.0}, r"keep_ratio 0.0 must lie in \(0, 1\]"),
        ({"blank": "skip"}, "blank 'skip' is unknown: use one of keep, drop"),
        ({"window": 21}, "window 21 must lie in 1..20"),
        ({"revision": "main"}, "revision 'main' was given for the local directory"),
    ],
)
def test_settings_out_of_range(own_checkpoint: Path, tmp_path: Path, options, match) -> None:
    refused(own_checkpoint, tmp_path, match, **options)


def test_an_unknown_repository_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="someone/nothing is neither a directory nor an available hub repository"):
        export_checkpoint("someone/nothing", tmp_path / "bundle")
