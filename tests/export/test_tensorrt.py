"""TensorRT-RTX parses and builds `cuda` bundles without a GPU; `ziprerank build` writes the plans into the bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from checkpoints import Shape
from typer.testing import CliRunner
from ziprerank.bundle import Bundle
from ziprerank.cli.app import app
from ziprerank.errors import BundleError
from ziprerank.export import Calibration, ExportError, ExportOptions, export_checkpoint
from ziprerank.export.host import Host
from ziprerank.export.plans import between_partitions, build_plans
from ziprerank.export.profiles import profiles
from ziprerank.export.samples import QUERIES, SIZES, page_image, prompt_ids

trt = pytest.importorskip("tensorrt_rtx", reason='TensorRT-RTX is not installed: pip install "ziprerank[dev]"')

PAGES = [page_image(number, SIZES[number % len(SIZES)]) for number in range(2)]
SHAPE = Shape(tied=True)


@pytest.fixture(scope="module", params=["bf16", "fp8", "bf16, scored by yes and no"])
def bundle(request, make_checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("std") / "bundle"
    precision, pointwise, _ = request.param.partition(",")
    calibration = Calibration(lambda _: PAGES, QUERIES[:1]) if precision == "fp8" else None
    options = ExportOptions(
        target="cuda",
        precision=precision,
        calibration=calibration,
        prompt="qwen3-vl-reranker" if pointwise else None,
    )
    return export_checkpoint(str(make_checkpoint(SHAPE)), out, options)


def test_fp8_products_read_quantised_values(bundle: Path) -> None:
    """In the parser's network of fp8, every linear layer of the decoder multiplies two dequantised tensors."""
    network, parser = parsed(bundle / "rerank.onnx")
    assert parser.num_errors == 0
    layers = [network.get_layer(number) for number in range(network.num_layers)]
    count = {
        kind: sum(layer.type == kind for layer in layers) for kind in (trt.LayerType.QUANTIZE, trt.LayerType.DEQUANTIZE)
    }
    if bundle_precision(bundle) == "fp8":
        # of q, k, v; of o; of gate, up; of down; the last layer's q reads a row of its own
        inputs = 4 * SHAPE.layers + 1
        assert count == {trt.LayerType.QUANTIZE: inputs, trt.LayerType.DEQUANTIZE: inputs + 7 * SHAPE.layers}
        quantised = {layer.get_output(0).dtype for layer in layers if layer.type == trt.LayerType.QUANTIZE}
        assert quantised == {trt.DataType.FP8}
    else:
        assert set(count.values()) == {0}


def test_plans_for_two_capabilities(bundle: Path) -> None:
    before = json.loads((bundle / "ziprerank.json").read_text())
    arguments = ["build", str(bundle), "--provider", "tensorrt-rtx", "--capability", "8.9", "--capability", "12.0"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    manifest = json.loads((bundle / "ziprerank.json").read_text())
    (plan,) = manifest.pop("plans")
    assert plan["provider"] == "tensorrt-rtx"
    assert plan["compute_capabilities"] == ["8.9", "12.0"]
    assert plan["version"] == trt.__version__
    names = ("plan.txt", "vision.onnx", "vision.engine", "rerank.onnx", "rerank.engine")
    built = {f"tensorrt-rtx/{name}" for name in names}
    assert set(manifest["files"]) - set(before["files"]) == built
    assert Bundle.load(bundle).files.keys() >= built  # the online half's reader: sizes and checksums hold

    for graph, path in plan["graphs"].items():
        context, original = (onnx.load(bundle / name, load_external_data=False) for name in (path, graph))
        (node,) = context.graph.node
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        assert (node.domain, node.op_type) == ("com.microsoft", "EPContext")
        assert attributes["embed_mode"] == 0
        assert attributes["main_context"] == 1
        assert attributes["source"] == b"NvTensorRTRTXExecutionProvider"
        name = attributes["ep_cache_context"].decode()
        assert Path(name).name == name, "the provider refuses other folders"
        engine = bundle / "tensorrt-rtx" / name
        assert engine.stat().st_size > 100_000
        assert engine.read_bytes()[:4] == b"vtrt"
        # a host sees the same inputs, outputs and metadata as in the graph that was built
        for side in ("input", "output"):
            assert list(getattr(context.graph, side)) == list(getattr(original.graph, side))
        assert list(node.input) == [value.name for value in original.graph.input]
        assert list(node.output) == [value.name for value in original.graph.output]
        assert sorted(map(str, context.metadata_props)) == sorted(map(str, original.metadata_props))
        assert set(plan["profiles"][graph]) == set(node.input)

    # the engine's part of the entry says the same
    lines = [line.split() for line in (bundle / "tensorrt-rtx" / "plan.txt").read_text().splitlines()]
    assert lines[:5] == [
        ["ziprerank-plan", "1"],
        ["builder", "TensorRT-RTX", trt.__version__],
        ["precision", bundle_precision(bundle)],
        ["capability", "8.9"],
        ["capability", "12.0"],
    ]
    read: dict[str, dict[str, list[list[int]]]] = {}
    for kind, graph, tensor, *sizes in lines[5:]:
        assert kind == "profile"
        read.setdefault(graph, {})[tensor] = [[int(size) for size in shape.split("x")] for shape in sizes]
    assert read == plan["profiles"]

    (bundle / "tensorrt-rtx" / "vision.engine").write_bytes(b"another")
    with pytest.raises(BundleError, match=r"vision\.engine has 7 bytes"):
        Bundle.load(bundle, check="size")
    if bundle_precision(bundle) == "bf16":  # once is enough
        build_plans(bundle, "tensorrt-rtx", ["8.9"])  # built again, the plan replaces the old one
        (plan,) = json.loads((bundle / "ziprerank.json").read_text())["plans"]
        assert plan["compute_capabilities"] == ["8.9"]
        context = onnx.load(bundle / "tensorrt-rtx/rerank.onnx")
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in context.graph.node[0].attribute}
        assert attributes["hardware_architecture"] == b"89"
        assert Bundle.load(bundle)
        assert not list(bundle.glob(".*"))


def test_profiles_hold_real_windows(make_checkpoint, tmp_path: Path) -> None:
    """The inputs that the minimal host makes are within the profiles; the largest window is on their border."""
    host = Host(export_checkpoint(str(make_checkpoint(SHAPE)), tmp_path / "bundle", ExportOptions(longest_side=320)))
    shapes = profiles(host.manifest)
    largest = [np.zeros((320, 320, 3), np.uint8)]
    for images, keep_ratio in ((PAGES[:1], 0.01), (PAGES * 5, 0.5), (largest * 20, 1.0)):
        pages = [host.encode(image) for image in images[:2]]
        pages = [pages[number % len(pages)] for number in range(len(images))]
        ids = prompt_ids(tmp_path / "bundle", host.manifest["prompt"], QUERIES[0], len(images))
        inputs = host.inputs(ids, pages, keep_ratio)
        assert set(inputs) == set(shapes["rerank.onnx"])
        for name, value in inputs.items():
            low, usual, high = shapes["rerank.onnx"][name]
            assert all(a <= b <= c for a, b, c in zip(low, value.shape, high, strict=True)), name
            assert all(a <= b <= c for a, b, c in zip(low, usual, high, strict=True)), name
    assert inputs["rows"].shape == tuple(shapes["rerank.onnx"]["rows"][2])
    assert shapes["vision.onnx"]["patches"][2] == [1, 4 * len(host.encode(largest[0]).features), 768]


@pytest.fixture(scope="module")
def unbuilt(make_checkpoint, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, checkpoint = tmp_path_factory.mktemp("unbuilt"), str(make_checkpoint(SHAPE))
    options = {"cpu": {}, "int4": {"target": "cuda", "precision": "int4"}, "bf16": {"target": "cuda"}}
    return {
        name: export_checkpoint(checkpoint, folder / name, ExportOptions(**chosen)) for name, chosen in options.items()
    }


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("cpu", ("tensorrt-rtx",), "exported for cpu in fp32: plans need .* with --target cuda --precision bf16"),
        ("int4", ("tensorrt-rtx",), "exported for cuda in int4: plans need"),
        ("bf16", ("openvino",), "provider 'openvino' is unknown: plans are built for tensorrt-rtx or tensorrt"),
        ("bf16", ("tensorrt-rtx", ["9.0"]), "compute capability 9.0 in bf16: TensorRT-RTX builds it for 8.6"),
        ("bf16", ("tensorrt", ["8.9"]), "it builds for the GPU of this machine, leave them out"),
        ("bf16", ("tensorrt",), "and this machine has none: run this command there"),
    ],
)
def test_what_cannot_be_built_is_refused(name: str, arguments, message: str, unbuilt: dict[str, Path]) -> None:
    bundle = unbuilt[name]
    before = {file: file.read_bytes() for file in bundle.glob("*.json")}
    with pytest.raises(ExportError, match=message):
        build_plans(bundle, *arguments)
    assert {file: file.read_bytes() for file in bundle.glob("*.json")} == before


def test_values_that_cross_the_operator_have_sizes(unbuilt: dict[str, Path]) -> None:
    """ONNX Runtime cuts the graph at the operator, so every value that crosses it needs a profile."""
    graph = unbuilt["bf16"] / "rerank.onnx"
    shapes = profiles(json.loads((unbuilt["bf16"] / "ziprerank.json").read_text()))["rerank.onnx"]
    extra = between_partitions(graph, shapes)
    model = onnx.load(graph, load_external_data=False).graph
    weights = {tensor.name for tensor in model.initializer}
    place = next(i for i, node in enumerate(model.node) if node.op_type == "QueryImagePrune")
    before = {name for node in model.node[: place + 1] for name in node.output}
    crossing = {name for node in model.node[place + 1 :] for name in node.input if name in before}
    assert crossing <= set(extra)
    assert not set(extra) & (weights | set(shapes))
    host = Host(unbuilt["cpu"])
    pages = [host.encode(image) for image in PAGES]
    ids = prompt_ids(unbuilt["cpu"], host.manifest["prompt"], QUERIES[0], len(PAGES))
    inputs = host.inputs(ids, pages, 0.5)
    hidden = shapes["pool"][0][-1]
    for name, (low, usual, high) in extra.items():
        real = [int(inputs["keep"].sum())] if len(low) == 1 else [len(inputs["text_ids"]), hidden]
        assert all(a <= b <= c for a, b, c in zip(low, real, high, strict=True)), name
        assert all(a <= b <= c for a, b, c in zip(low, usual, high, strict=True)), name


def test_tensorrt_wants_its_gpu(unbuilt: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    bundle = unbuilt["bf16"]
    done = CliRunner().invoke(app, ["build", str(bundle), "--provider", "tensorrt"])
    assert done.exit_code == 1
    assert "this machine has none: run this command there, or build for --provider tensorrt-rtx" in " ".join(
        done.output.split()
    )
    assert not list(bundle.glob(".*"))
    assert not (bundle / "tensorrt").exists()


def parsed(graph: Path):
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    parser.parse_from_file(str(graph))
    return network, parser


def bundle_precision(bundle: Path) -> str:
    manifest = json.loads((bundle / "ziprerank.json").read_text())
    return manifest.get("quantisation", manifest)["precision"]
