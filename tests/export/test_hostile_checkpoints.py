"""Checkpoints that somebody made to do harm: every one is refused by an error that names the file and the key."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_json import DIGITS, Literal, in_place_of, replace_at, within, write_json
from safetensors.numpy import save_file
from ziprerank.errors import MOST_TEXT
from ziprerank.export import CheckpointError, ExportError, ExportOptions, export_checkpoint
from ziprerank.export.shards import read_shard, read_tensors

LONG = "x" * 1_000_000


def refusal(checkpoint: Path) -> str:
    with within(100), pytest.raises((CheckpointError, ExportError)) as caught:
        export_checkpoint(checkpoint, checkpoint.parent / "bundle", ExportOptions())
    assert len(str(caught.value)) < MOST_TEXT + 100
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        ("architectures", 7, "architectures"),
        ("architectures", [LONG], "architecture"),
        ("text_config", None, "text_config"),
        ("text_config", [], "text_config"),
        ("vision_config", "small", "vision_config"),
        ("tie_word_embeddings", "yes", "tie_word_embeddings"),
        ("image_token_id", "6", "image_token_id"),
        ("image_token_id", -1, "image_token_id"),
        ("text_config.num_hidden_layers", "3", "num_hidden_layers"),
        ("text_config.num_hidden_layers", 0, "num_hidden_layers"),
        ("text_config.num_hidden_layers", 1_000_000, "num_hidden_layers"),
        ("text_config.hidden_size", -64, "hidden_size"),
        ("text_config.hidden_size", Literal(DIGITS), "400 digits"),
        ("text_config.num_attention_heads", 0, "num_attention_heads"),
        ("text_config.num_key_value_heads", 3, "num_key_value_heads"),
        ("text_config.vocab_size", 0, "vocab_size"),
        ("text_config.vocab_size", 2.5, "vocab_size"),
        ("text_config.rms_norm_eps", Literal("NaN"), "NaN"),
        ("text_config.rms_norm_eps", "tiny", "rms_norm_eps"),
        ("text_config.rope_parameters", 7, "rope_parameters"),
        ("vision_config.depth", True, "depth"),
        ("vision_config.num_heads", 0, "num_heads"),
        ("vision_config.num_heads", 5, "num_heads"),
        ("vision_config.num_position_embeddings", -1, "num_position_embeddings"),
        ("vision_config.deepstack_visual_indexes", 1, "deepstack_visual_indexes"),
        ("vision_config.deepstack_visual_indexes", ["1"], "deepstack_visual_indexes"),
        ("vision_config.deepstack_visual_indexes", [99], "deepstack_visual_indexes"),
        ("vision_config.patch_size", 0, "patch_size"),
        ("vision_config.patch_size", Literal("1e400"), "1e400"),
        ("vision_config.temporal_patch_size", 1 << 40, "temporal_patch_size"),
    ],
)
def test_values_that_a_configuration_cannot_have(own_checkpoint: Path, path: str, value: Any, key: str) -> None:
    content = json.loads((own_checkpoint / "config.json").read_text())
    replace_at(content, path, value)
    write_json(own_checkpoint / "config.json", content)
    message = refusal(own_checkpoint)
    assert key in message
    assert "config.json" in message or "architecture" in message


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        ("size", 5, "size"),
        ("size.shortest_edge", 0, "shortest_edge"),
        ("size.longest_edge", 1, "longest_edge"),
        ("size.longest_edge", Literal(DIGITS), "400 digits"),
        ("patch_size", "16", "patch_size"),
        ("merge_size", 0, "merge_size"),
        ("image_mean", 0.5, "image_mean"),
        ("image_mean", [0.5, 0.5], "image_mean"),
        ("image_std", [0.5, 0, 0.5], "image_std"),
        ("image_std", [0.5, -0.5, 0.5], "image_std"),
        ("image_std", [0.5, Literal("Infinity"), 0.5], "Infinity"),
        ("rescale_factor", "1/255", "rescale_factor"),
        ("rescale_factor", 0.5, "rescale_factor"),
    ],
)
def test_values_that_a_processor_cannot_have(own_checkpoint: Path, path: str, value: Any, key: str) -> None:
    file = own_checkpoint / "preprocessor_config.json"
    content = json.loads(file.read_text())
    replace_at(content, path, value)
    write_json(file, content)
    message = refusal(own_checkpoint)
    assert key in message
    assert "preprocessor_config.json" in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("prefix", Literal('"\\udfff"')),
        ("prefix", None),
        ("lines", "{query}"),
        ("lines", [["{query}"]]),
        ("suffix", LONG),
        ("keep_ratio", "half"),
        ("window", 2.5),
        ("stride", Literal(DIGITS)),
        ("dpi", [88]),
        ("blank", 1),
        ("longest_side", -1),
    ],
)
def test_values_that_a_prompt_cannot_have(own_checkpoint: Path, key: str, value: Any) -> None:
    prompt = {"prefix": "", "lines": ["{query}"], "order_item": "", "order_separator": "", "page": "{image}"}
    write_json(own_checkpoint / "prompt.json", {**prompt, "suffix": "[", key: value})
    message = refusal(own_checkpoint)
    assert "prompt.json" in message
    assert key in message or "digits" in message


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"a": 1, "a": 2}', '{"a": "\\ud800"}', "\x00", "{]"])
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors.index.json"])
def test_files_that_are_no_json_of_ours(own_checkpoint: Path, name: str, text: str) -> None:
    (own_checkpoint / name).unlink(missing_ok=True)
    (own_checkpoint / name).write_text(text)
    assert name in refusal(own_checkpoint)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors"])
def test_no_file_in_the_place_of_a_file(own_checkpoint: Path, name: str, kind: str) -> None:
    in_place_of(own_checkpoint / name, kind)
    message = refusal(own_checkpoint)
    assert name in message


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ([], "'weight_map' has the wrong type list"),
        (None, "'weight_map' has the wrong type NoneType"),
        ({"a": 7}, "'a' has the wrong type int"),
        ({"a": ""}, "names the shard ''"),
        ({"a": ".."}, "names the shard '..'"),
        ({"a": "x" * 5000}, "names the shard 'xxx"),
        ({"a": "nul\0"}, "names the shard 'nul"),
        ({"a": "/dev/zero"}, "names the shard '/dev/zero'"),
        ({"a": "other.safetensors"}, "other.safetensors is missing"),
        ({"nowhere": "model.safetensors"}, "'nowhere' is not in the shard model.safetensors"),
    ],
)
def test_an_index_that_is_none(tmp_path: Path, weights: Any, reason: str) -> None:
    save_file({"a": np.zeros((2, 2), np.float32)}, tmp_path / "model.safetensors")
    write_json(tmp_path / "model.safetensors.index.json", {"weight_map": weights})
    with pytest.raises(CheckpointError) as caught:
        read_tensors(tmp_path)
    assert reason in str(caught.value)


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    for name in ("one.safetensors", "two.safetensors"):
        save_file({"a": np.zeros(1, np.float32), name: np.zeros(1, np.float32)}, tmp_path / name)
    weights = {"a": "one.safetensors", "two.safetensors": "two.safetensors"}
    write_json(tmp_path / "model.safetensors.index.json", {"weight_map": weights})
    with pytest.raises(CheckpointError, match=r"tensor 'a' is in two shards, one\.safetensors and two\.safetensors"):
        read_tensors(tmp_path)


GOOD = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


def shard(file: Path, header: str, data: int = 64) -> Path:
    content = header.encode()
    file.write_bytes(struct.pack("<Q", len(content)) + content + bytes(data))
    return file


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"dtype": 7}, "dtype"),
        ({"dtype": "x" * 1000}, "dtype"),
        ({"dtype": None}, "dtype"),
        ({"shape": 4}, "shape"),
        ({"shape": ["2", "2"]}, "shape"),
        ({"shape": [2.0, 2.0]}, "shape"),
        ({"shape": [-2, -2]}, "shape"),
        ({"shape": [0, 2], "data_offsets": [0, 0]}, "shape"),
        ({"shape": [1 << 32, 1 << 32], "data_offsets": [0, 0]}, "18446744073709551616 bytes|has 0 bytes"),
        ({"shape": [Literal(DIGITS)]}, "400 digits"),
        ({"shape": [1] * 9, "data_offsets": [0, 4]}, "shape"),
        ({"data_offsets": 16}, "data_offsets"),
        ({"data_offsets": [0]}, "data_offsets"),
        ({"data_offsets": ["0", "16"]}, "data_offsets"),
        ({"data_offsets": [-16, 0]}, "data_offsets"),
        ({"data_offsets": [16, 0]}, "data_offsets"),
        ({"data_offsets": [0, Literal("1" + "0" * 18)]}, "truncated"),
        ({"data_offsets": [0, Literal("NaN")]}, "NaN"),
    ],
)
def test_headers_that_describe_no_tensor(tmp_path: Path, change: dict[str, Any], key: str) -> None:
    scratch = tmp_path / "header.json"
    write_json(scratch, {"a": {**GOOD, **change}})
    with pytest.raises(CheckpointError, match=key) as caught:
        read_shard(shard(tmp_path / "model.safetensors", scratch.read_text()))
    assert "model.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("[]", "must hold a JSON object"),
        ('{"a": []}', "'a' has the wrong type list"),
        ("[" * 100_000, "nested deeper"),
        (json.dumps({"a": GOOD})[:-1] + ', "a": ' + json.dumps(GOOD) + "}", "the key 'a' stands twice"),
        (json.dumps({"a": GOOD, "b": {**GOOD, "data_offsets": [8, 24]}}), "tensor 'b' of .* overlaps another"),
        (json.dumps({"a": GOOD, "b": GOOD}), "overlaps another"),
        ('{"\\ud800": {}}', "half a surrogate pair"),
        (" " * (17 << 20), "has 17,825,792 bytes, at most 16,777,216"),
        ("{" + '"a":{},' * 1_100_000 + "}", "over 1,000,000 values"),
    ],
)
def test_headers_that_are_none(tmp_path: Path, header: str, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        read_shard(shard(tmp_path / "model.safetensors", header))


@pytest.mark.parametrize("length", [0, 1, 57, 1 << 40, (1 << 64) - 1])
def test_headers_of_a_length_that_is_none(tmp_path: Path, length: int) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", length) + bytes(56))
    with pytest.raises(CheckpointError, match="truncated or not a safetensors file"):
        read_shard(file)
