"""The content of an exported bundle, the cost of an export, and that the bundle in the package is an export."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from checkpoints import Shape
from rewrite import rewrite_json
from typer.testing import CliRunner
from ziprerank.bundle import Bundle, default_bundle
from ziprerank.cli.app import app
from ziprerank.export import ExportError, ExportOptions, export_checkpoint


def test_the_manifest_tells_the_truth(make_checkpoint, tmp_path: Path) -> None:
    bundle = export_checkpoint(str(make_checkpoint(Shape())), tmp_path / "bundle", ExportOptions(keep_ratio=0.25))
    manifest = json.loads((bundle / "ziprerank.json").read_text())
    for name, entry in manifest["files"].items():
        content = (bundle / name).read_bytes()
        assert entry == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert {*manifest["files"], "ziprerank.json"} == {file.name for file in bundle.iterdir()}
    assert manifest["format_version"] == 1  # of which it says no more
    assert manifest["tokens"]["letters"] == list(range(32, 52))
    assert manifest["defaults"]["keep_ratio"] == 0.25
    for graph in ("vision.onnx", "rerank.onnx", "relate.onnx"):
        model = onnx.load(bundle / graph, load_external_data=False)
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        assert metadata["ziprerank.bundle_id"] == manifest["bundle_id"]
        assert metadata["ziprerank.keep_ratio"] == "0.25"
    assert Bundle.load(bundle)  # the reader of the online half agrees, checksums included


def test_weights_are_linked_not_copied(make_checkpoint, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(Shape())
    linked = export_checkpoint(str(checkpoint), tmp_path / "linked", ExportOptions(weights="link"))
    copied = export_checkpoint(str(checkpoint), tmp_path / "copied", ExportOptions(weights="copy"))
    shard = "model.safetensors"
    assert (linked / shard).samefile(checkpoint / shard)
    assert not (copied / shard).samefile(checkpoint / shard)
    for bundle in (linked, copied):
        for file in bundle.iterdir():
            assert not file.is_symlink()
    assert json.loads((linked / "ziprerank.json").read_text()) == json.loads((copied / "ziprerank.json").read_text())


def test_an_existing_directory_is_left_alone(make_checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="exists: choose a new directory"):
        export_checkpoint(str(make_checkpoint(Shape())), tmp_path)


def test_the_checkpoints_own_prompt_and_defaults(own_checkpoint: Path, tmp_path: Path) -> None:
    prompt = {
        "prefix": "<|im_start|>",
        "lines": ["Find {query}"],
        "order_item": "",
        "order_separator": "",
        "page": "{image}",
    }
    own = {**prompt, "suffix": "[", "window": 8, "stride": 4, "longest_side": 512, "dpi": 90, "query_case": "lower"}
    (own_checkpoint / "prompt.json").write_text(json.dumps(own))
    bundle = export_checkpoint(str(own_checkpoint), tmp_path / "bundle")
    manifest = json.loads((bundle / "ziprerank.json").read_text())
    assert manifest["prompt"] == {**prompt, "suffix": "[", "query_case": "lower"}
    assert manifest["defaults"] == {
        "keep_ratio": 0.5,
        "window": 8,
        "stride": 4,
        "prune_text": "all_before_image",
        "blank": "keep",
    }
    assert manifest["image"]["longest_side"] == 512
    assert manifest["image"]["dpi"] == 90


def test_image_statistics_other_than_one_half(own_checkpoint: Path, tmp_path: Path) -> None:
    """Normalisation is folded into the weights, so other statistics must give other features: the reference's."""
    from ziprerank.export.host import Host
    from ziprerank.export.reference import Reference
    from ziprerank.export.verify import page_image

    mean, std = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]
    rewrite_json(own_checkpoint / "preprocessor_config.json", image_mean=mean, image_std=std)
    host = Host(export_checkpoint(str(own_checkpoint), tmp_path / "bundle"))
    reference = Reference(own_checkpoint, mean=mean, std=std, letters=range(20))
    page = page_image(1, (256, 320))
    actual, expected = host.encode(page).features, reference.encode(page)
    np.testing.assert_allclose(actual[:, 0], expected.tokens, atol=1e-4 * expected.tokens.abs().max())
    half = Reference(own_checkpoint, mean=[0.5] * 3, std=[0.5] * 3, letters=range(20)).encode(page)
    assert np.abs(actual[:, 0] - half.tokens.numpy()).max() > 0.01


def test_the_default_bundle_is_what_the_export_makes(default_checkpoint: Path, tmp_path: Path) -> None:
    made = export_checkpoint(str(default_checkpoint), tmp_path / "bundle", ExportOptions(weights="copy"))
    shipped = json.loads((default_bundle() / "ziprerank.json").read_text())
    again = json.loads((made / "ziprerank.json").read_text())
    for manifest, folder in ((shipped, default_bundle()), (again, made)):
        manifest.pop("created_by")
        manifest.pop("parity")
        for graph in ("vision.onnx", "rerank.onnx"):
            manifest["files"][graph] = graph_content(folder / graph)
    assert again == shipped  # with the SHA-256 of every other file
    assert sum(file.stat().st_size for file in default_bundle().iterdir()) <= 25e6


def graph_content(file: Path) -> list[Any]:
    """Everything that a graph computes, without bytes and names that depend on the library that wrote it."""
    model = onnx.load(file, load_external_data=False)
    return [
        sorted((entry.key, entry.value) for entry in model.metadata_props),
        [(value.name, str(value.type)) for value in (*model.graph.input, *model.graph.output)],
        [
            (function.domain, function.name, body(function, function.input, function.output))
            for function in model.functions
        ],
        body(
            model.graph,
            [*(value.name for value in model.graph.input), *(weight.name for weight in model.graph.initializer)],
            [value.name for value in model.graph.output],
        ),
        [
            (
                weight.name,
                weight.data_type,
                list(weight.dims),
                [(entry.key, entry.value) for entry in weight.external_data],
            )
            for weight in model.graph.initializer
        ],
    ]


def body(graph: onnx.GraphProto | onnx.FunctionProto, inputs: Sequence[str], outputs: Sequence[str]) -> list[Any]:
    """The operators of a graph or a function, with values numbered in the order in which they appear."""
    numbers: dict[str, int] = {"": -1}  # an optional input that is left out

    def numbered(names: Iterable[str]) -> list[int]:
        return [numbers.setdefault(name, len(numbers)) for name in names]

    def value(attribute: onnx.AttributeProto) -> Any:
        if attribute.ref_attr_name:
            return attribute.ref_attr_name
        found = onnx.helper.get_attribute_value(attribute)
        if isinstance(found, onnx.TensorProto):
            array = onnx.numpy_helper.to_array(found)
            return array.dtype.str, array.shape, array.tobytes()
        return list(found) if isinstance(found, Sequence) and not isinstance(found, bytes) else found

    read = numbered(inputs)
    nodes = [
        (node.domain, node.op_type, numbered(node.input), numbered(node.output), attributes(node, value))
        for node in graph.node
    ]
    return [read, nodes, numbered(outputs)]


def attributes(node: onnx.NodeProto, value: Callable[[onnx.AttributeProto], Any]) -> list[tuple[str, Any]]:
    return sorted((attribute.name, value(attribute)) for attribute in node.attribute)


@pytest.mark.slow  # every byte is hashed
@pytest.mark.parametrize(
    ("size", "prompt", "parameters"),
    [("8B", "ziprerank", 8.7e9), ("8B", "qwen3-vl-reranker", 8.7e9), ("2B", "qwen3-vl-reranker", 2.1e9)],
)
def test_exporting_real_shapes_takes_little_memory_and_time(
    size: str, prompt: str, parameters: float, own_checkpoint: Path, tmp_path: Path
) -> None:
    """Sparse shards of zeros: the graphs refer to weights, and the export reads none. 2B ties its head, 8B does not."""
    checkpoint = write_sparse_checkpoint(tmp_path / size, own_checkpoint, size)
    script = (
        "import sys; from pathlib import Path\n"
        "from ziprerank.export import ExportOptions, export_checkpoint\n"
        "from ziprerank.runtime.memory import peak_bytes\n"
        "options = ExportOptions(target='cuda', precision='bf16', weights='link', prompt=sys.argv[3])\n"
        "export_checkpoint(sys.argv[1], Path(sys.argv[2]), options)\n"
        "assert 'torch' not in sys.modules, 'the export needs no PyTorch'\n"
        "print(peak_bytes())"
    )
    command = [sys.executable, "-c", script, str(checkpoint), str(tmp_path / "bundle"), prompt]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # clean pages of the mapped shards count as resident but not as memory that is needed; even with them it stays below
    assert int(done.stdout) < 2 << 30
    manifest = json.loads((tmp_path / "bundle" / "ziprerank.json").read_text())
    assert manifest["model"]["parameters"] > parameters
    assert sum(entry["size"] for entry in manifest["files"].values()) > 1.95 * parameters
    assert (manifest["prompt"].get("scoring") == "yes_no") == (prompt == "qwen3-vl-reranker")
    shards = [name for name in manifest["files"] if name.startswith("model-")]
    assert all((tmp_path / "bundle" / name).samefile(checkpoint / name) for name in shards)


REAL_SHAPES: dict[str, dict[str, dict[str, Any]]] = {
    "8B": {
        "text": {"hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32, "intermediate_size": 12288},
        "vision": {
            "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "out_hidden_size": 4096,
            "deepstack_visual_indexes": [8, 16, 24],
        },
        "both": {"tie_word_embeddings": False},
    },
    "2B": {
        "text": {"hidden_size": 2048, "num_hidden_layers": 28, "num_attention_heads": 16, "intermediate_size": 6144},
        "vision": {
            "depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "out_hidden_size": 2048,
            "deepstack_visual_indexes": [5, 11, 17],
        },
        "both": {"tie_word_embeddings": True},
    },
}  # fmt: skip


def write_sparse_checkpoint(out: Path, like: Path, size: str) -> Path:
    """The configuration and tensor names of a published Qwen3-VL, in sparse shards of at most 5 GB."""
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    out.mkdir()
    shape = REAL_SHAPES[size]
    config = Qwen3VLConfig(
        text_config={
            "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 5e6, "mrope_interleaved": True, "mrope_section": [24, 20, 20]
            },
            **shape["text"], **shape["both"],
        },
        vision_config={"num_heads": 16, "num_position_embeddings": 2304, **shape["vision"]},
        image_token_id=151655, video_token_id=151656, vision_start_token_id=151652, vision_end_token_id=151653,
        **shape["both"],
    )  # fmt: skip
    with torch.device("meta"):
        tensors = {name: tensor.shape for name, tensor in Qwen3VLForConditionalGeneration(config).state_dict().items()}
    if shape["both"]["tie_word_embeddings"]:
        del tensors["lm_head.weight"]
    (out / "config.json").write_text(
        json.dumps({**config.to_dict(), "architectures": ["Qwen3VLForConditionalGeneration"]}, default=str)
    )
    for name in ("tokenizer.json", "preprocessor_config.json"):
        (out / name).symlink_to(like / name)
    shards: list[dict[str, torch.Size]] = [{}]
    size = 0
    for name, shape in tensors.items():
        if size + shape.numel() * 2 > 5e9:
            shards.append({})
            size = 0
        shards[-1][name] = shape
        size += shape.numel() * 2
    weight_map = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        header, offset = {}, 0
        for name, shape in shard.items():
            end = offset + shape.numel() * 2
            header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
            offset, weight_map[name] = end, file
        encoded = json.dumps(header).encode()
        with (out / file).open("wb") as stream:
            stream.write(len(encoded).to_bytes(8, "little") + encoded)
            stream.truncate(8 + len(encoded) + offset)
    (out / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return out


@pytest.mark.slow  # three kernels are compiled for nine targets
def test_kernels_come_with_the_bundle_when_asked_for(make_checkpoint, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    arguments = ["export", str(make_checkpoint(Shape())), str(out), "--target", "cuda", "--kernels"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    bundle = Bundle.load(out)  # every kernel stands in the manifest with its checksum
    listed = {name for name in bundle.files if name.startswith("kernels/")}
    assert listed == {f"kernels/{file.name}" for file in (out / "kernels").iterdir()}
    shown = CliRunner().invoke(app, ["kernels", str(out), "--json"])
    rows = json.loads(shown.output)
    assert {row["arch"] for row in rows if row["kind"] == "cubin"} == {80, 86, 87, 89, 90, 100, 103, 110, 120, 121}
    assert {f"kernels/{row['file']}" for row in rows} | {"kernels/launch.json", "kernels/launch.txt"} == listed


def test_kernels_for_the_cpu_are_refused(make_checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="kernels for target cpu: they run on CUDA"):
        export_checkpoint(str(make_checkpoint(Shape())), tmp_path / "bundle", ExportOptions(kernels=True))


def test_the_command_line(make_checkpoint, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    done = CliRunner().invoke(
        app, ["export", str(make_checkpoint(Shape())), str(out), "--keep-ratio", "0.25", "--blank", "drop"]
    )
    assert done.exit_code == 0, done.output
    assert Bundle.load(out).defaults.keep_ratio == 0.25
    assert Bundle.load(out).defaults.blank == "drop"
    again = CliRunner().invoke(app, ["export", str(make_checkpoint(Shape())), str(out)])
    assert again.exit_code == 1
    assert "exists: choose a new directory" in again.output
