"""Quantised bundles: their logits are those of the checkpoint with rounded weights, and they list what is rounded."""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from checkpoints import Shape
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner
from ziprerank.bundle import Bundle
from ziprerank.cli.app import app
from ziprerank.export import Calibration, ExportError, ExportOptions, export_checkpoint
from ziprerank.export.checkpoint import PACKED_DTYPES, read_shard
from ziprerank.export.host import Host
from ziprerank.export.reference import Reference
from ziprerank.export.samples import QUERIES, SIZES, page_image, prompt_ids
from ziprerank.export.verify import TOLERANCE, compare_kept, logit_error

LAYERS = "model.language_model.layers."
PAGES = [page_image(number, SIZES[number % len(SIZES)]) for number in range(4)]
CALIBRATION = Calibration(lambda _: PAGES, QUERIES[:2])


def rounded_blocks(tensors: dict, name: str, shape: tuple[int, int]) -> np.ndarray:
    """The weight that ``MatMulNBits`` multiplies with, by the operator's definition."""
    codes, scales = tensors[f"{name}.blocks"].numpy(), tensors[f"{name}.scales"].numpy().astype(np.float32)
    per_block = {16: 4, 128: 8}[codes.shape[2]]  # blocks of 32 at 4 bits, of 128 at 8
    if per_block == 4:
        codes = np.stack([codes & 15, codes >> 4], axis=-1).reshape(*codes.shape[:2], 32)
    weight = (codes.astype(np.float32) - 2 ** (per_block - 1)) * scales[:, :, None]
    return weight.reshape(shape[0], -1)[:, : shape[1]]


def packed(bundle: Path) -> dict:
    return {
        name: tensor for file in bundle.glob("packed-*") for name, tensor in read_shard(file, PACKED_DTYPES).items()
    }


@pytest.mark.parametrize(
    ("precision", "shape"), [("int4", Shape()), ("int8", Shape(tied=True, dtype=torch.bfloat16))], ids=["int4", "int8"]
)
def test_weights_are_all_that_is_rounded(precision: str, shape, make_checkpoint, tmp_path: Path) -> None:
    """The bundle equals transformers on a checkpoint whose decoder has the rounded weights, as nearly as fp32 does."""
    checkpoint = make_checkpoint(shape)
    host = Host(export_checkpoint(str(checkpoint), tmp_path / "bundle", ExportOptions(precision=precision)))
    stored = packed(tmp_path / "bundle")
    rounded = tmp_path / "rounded"
    rounded.mkdir()
    for file in checkpoint.glob("*.json"):
        (rounded / file.name).symlink_to(file)
    tensors = {name: tensor.float() for name, tensor in load_file(checkpoint / "model.safetensors").items()}
    for name, tensor in tensors.items():
        if name.startswith(LAYERS) and tensor.dim() == 2:
            weight = rounded_blocks(stored, name.removesuffix(".weight"), tuple(tensor.shape))
            assert (
                0
                < np.abs(weight - tensor.numpy()).max()
                < np.abs(tensor.numpy()).max() / (6 if precision == "int4" else 100)
            )
            tensors[name] = torch.from_numpy(weight.copy())
    save_file(tensors, rounded / "model.safetensors", metadata={"format": "pt"})

    reference = Reference(rounded, mean=[0.5] * 3, std=[0.5] * 3, letters=host.manifest["tokens"]["letters"])
    ids = prompt_ids(tmp_path / "bundle", host.manifest["prompt"], QUERIES[0], len(PAGES))
    expected = reference.score(ids, [reference.encode(page) for page in PAGES], 0.5)
    actual = host.score(ids, [host.encode(page) for page in PAGES], 0.5)
    compare_kept(actual.kept, expected)
    assert logit_error(actual, expected) < TOLERANCE


def test_a_bundle_says_what_was_rounded(make_checkpoint, tmp_path: Path) -> None:
    bundle = export_checkpoint(str(make_checkpoint(Shape())), tmp_path / "bundle", ExportOptions(precision="int4"))
    manifest = json.loads((bundle / "ziprerank.json").read_text())
    assert manifest["precision"] == "fp32"  # what it computes in, and what stands between its graphs
    assert manifest["quantisation"]["precision"] == "int4"
    assert manifest["quantisation"]["decoder"] == {"scheme": "blocks", "bits": 4, "block_size": 32}
    said = manifest["quantisation"]["as_stored"]
    stored = {
        name.replace(f"{LAYERS}0.", f"{LAYERS}*.")
        for name in packed(bundle)
        if f"{LAYERS}" not in name or ".0." in name
    }
    decoder = {name for name in stored if name.startswith("model.language_model") and name.endswith("norm.weight")}
    assert decoder | {"model.language_model.embed_tokens.weight", "letters.weight", "model.visual.*"} == set(said)
    assert "lm_head.weight" not in packed(bundle)
    assert not (bundle / "model.safetensors").exists()
    for graph in ("vision.onnx", "rerank.onnx"):
        model = onnx.load(bundle / graph, load_external_data=False)
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        assert metadata["ziprerank.precision"] == "fp32"
        assert metadata["ziprerank.weights"] == "int4"
        assert metadata["ziprerank.as_stored"].split(",") == said
    assert Bundle.load(bundle).precision == "fp32"


@pytest.mark.parametrize(("precision", "bits"), [("int8", 8), ("int4", 4)])
def test_on_cuda_activations_and_scales_are_bf16(precision: str, bits: int, make_checkpoint, tmp_path: Path) -> None:
    bundle = export_checkpoint(
        str(make_checkpoint(Shape(tied=True))), tmp_path / "bundle", ExportOptions(target="cuda", precision=precision)
    )
    stored = packed(bundle)
    model = onnx.load(bundle / "rerank.onnx", load_external_data=False)
    products = [node for node in model.graph.node if node.op_type == "MatMulNBits"]
    assert len(products) == 3 * 7  # layers, linear layers each
    for node in products:
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        assert attributes["bits"] == bits
        assert stored[node.input[2]].numpy().dtype == ml_dtypes.bfloat16
        assert stored[node.input[2]].shape == (attributes["N"], -(-attributes["K"] // attributes["block_size"]))
    assert json.loads((bundle / "ziprerank.json").read_text())["precision"] == "bf16"


@pytest.fixture(scope="module")
def exact_bundle(make_checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_checkpoint(str(make_checkpoint(Shape())), tmp_path_factory.mktemp("exact") / "bundle")


@pytest.mark.parametrize("precision", ["int8-dynamic", "fp8"])
def test_rounded_activations_stay_near(precision: str, exact_bundle: Path, make_checkpoint, tmp_path: Path) -> None:
    """Close to the fp32 bundle but different; test_quantise.py compares one layer of each number by number."""
    checkpoint = str(make_checkpoint(Shape()))
    calibration = CALIBRATION if precision == "fp8" else None
    rounded = Host(
        export_checkpoint(checkpoint, tmp_path / "rounded", ExportOptions(precision=precision, calibration=calibration))
    )
    exact = Host(exact_bundle)
    ids = prompt_ids(exact_bundle, exact.manifest["prompt"], QUERIES[0], len(PAGES))
    expected = exact.score(ids, [exact.encode(page) for page in PAGES], 0.5)
    actual = rounded.score(ids, [rounded.encode(page) for page in PAGES], 0.5)
    assert all(map(np.array_equal, actual.kept, expected.kept))  # the vision tower is as it was
    error = np.abs(actual.logits - expected.logits).max() / np.ptp(expected.logits)
    assert TOLERANCE < error < 0.15


def test_fp8_ranges_are_the_largest_inputs_seen(exact_bundle: Path, make_checkpoint, tmp_path: Path) -> None:
    """Checks the first layer, whose inputs, the normalised text and visual tokens, are easy to compute."""
    checkpoint = make_checkpoint(Shape())
    bundle = export_checkpoint(
        str(checkpoint),
        tmp_path / "fp8",
        ExportOptions(target="cuda", precision="fp8", keep_ratio=1.0, calibration=CALIBRATION),
    )
    model = onnx.load(bundle / "rerank.onnx", load_external_data=False)
    constants = {
        node.output[0]: onnx.numpy_helper.to_array(node.attribute[0].t)
        for node in model.graph.node
        if node.op_type == "Constant"
    }
    quantised = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(quantised) == 3 * 4 + 1  # q, k, v share one, and so do gate and up; the last layer's q reads one row
    scale = float(constants[quantised[0].input[1]])

    exact = Host(exact_bundle)
    tensors = load_file(checkpoint / "model.safetensors")
    rows = [exact.encode(page).features[:, 0] for page in PAGES]
    for query in CALIBRATION.queries:
        ids = prompt_ids(exact_bundle, exact.manifest["prompt"], query, len(PAGES))
        text = [token for token in ids if token != exact.manifest["tokens"]["image_pad"]]
        rows.append(tensors["model.language_model.embed_tokens.weight"][text].numpy())
    x = np.concatenate(rows)
    normed = (
        x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-6) * tensors[f"{LAYERS}0.input_layernorm.weight"].numpy()
    )
    assert scale == pytest.approx(np.abs(normed).max() / 448, rel=2**-8)  # rounded to bf16


def test_calibration_by_the_command_line(make_checkpoint, tmp_path: Path) -> None:
    """The command calibrates as the function does; other pages give other ranges, hence another bundle."""
    checkpoint = str(make_checkpoint(Shape()))
    for number in (0, 1):
        Image.fromarray(page_image(number, (256, 256))).save(tmp_path / f"{number}.png")
    ids = []
    for number in (0, 1):
        out = tmp_path / f"by-command-{number}"
        arguments = ["--precision", "fp8", "--calibrate", str(tmp_path / f"{number}.png"), "--query", QUERIES[0]]
        done = CliRunner().invoke(app, ["export", checkpoint, str(out), *arguments])
        assert done.exit_code == 0, done.output
        ids.append(Bundle.load(out).bundle_id)
    one = Calibration(lambda _: [page_image(0, (256, 256))], QUERIES[:1])
    called = export_checkpoint(checkpoint, tmp_path / "called", ExportOptions(precision="fp8", calibration=one))
    assert ids[0] == Bundle.load(called).bundle_id != ids[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"target": "cpu", "precision": "fp16"},
            "precision fp16 on target cpu: .* use fp32, int8, int8-dynamic or int4",
        ),
        ({"target": "cuda", "precision": "int8-dynamic"}, "precision int8-dynamic on target cuda: .* use int8 or fp8"),
        (
            {"target": "cuda", "precision": "int2"},
            "precision 'int2' is unknown: use one of fp32, fp16, bf16, fp8, int8",
        ),
        ({"target": "cuda", "precision": "fp8"}, "precision fp8 needs ranges of the activations: .*--calibrate"),
        ({"precision": "int8", "calibration": CALIBRATION}, "calibration for precision int8: only fp8 is calibrated"),
        (
            {"precision": "fp8", "calibration": Calibration(lambda _: [], ["a query"])},
            "0 pages and 1 queries: calibration needs some of both",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(options, message: str, make_checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        export_checkpoint(str(make_checkpoint(Shape())), tmp_path / "bundle", ExportOptions(**options))
    assert not list(tmp_path.iterdir())
