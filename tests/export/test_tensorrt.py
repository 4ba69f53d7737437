"""TensorRT-RTX parses and builds both `std` graphs in bf16, which needs no GPU, and reads every one of their inputs."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoints import Shape
from ziprerank.export import export_checkpoint

trt = pytest.importorskip("tensorrt_rtx", reason='TensorRT-RTX is not installed: pip install "ziprerank[dev]"')

HIDDEN, LEVELS = 64, 4
VISION = {
    "patches": ((1, 4, 768), (1, 3200, 768), (4, 4096, 768)),
    "patch_rows": ((4,), (3200,), (4096,)),
    "patch_cols": ((4,), (3200,), (4096,)),
}
RERANK = {
    "pool": ((1, LEVELS, HIDDEN), (16000, LEVELS, HIDDEN), (65536, LEVELS, HIDDEN)),
    "rows": ((1,), (16000,), (32768,)),
    "page_offsets": ((2,), (21,), (21,)),
    "keep": ((1,), (20,), (20,)),
    "text_ids": ((2,), (300,), (2048,)),
    "query_mask": ((2,), (300,), (2048,)),
    "text_positions": ((3, 2), (3, 300), (3, 2048)),
    "visual_positions": ((3, 1), (3, 16000), (3, 32768)),
    "layout": ((3,), (8300,), (34816,)),
}


@pytest.fixture(scope="module")
def bundle(make_checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("std") / "bundle"
    return export_checkpoint(str(make_checkpoint(Shape(tied=True))), out, target="cuda", precision="bf16")


@pytest.mark.parametrize(("graph", "shapes"), [("vision.onnx", VISION), ("rerank.onnx", RERANK)])
def test_parses_reads_every_input_and_builds(bundle: Path, graph: str, shapes) -> None:
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(bundle / graph)), [str(parser.get_error(i)) for i in range(parser.num_errors)]

    inputs = {network.get_input(i).name for i in range(network.num_inputs)}
    assert inputs == set(shapes)
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    read = {tensor.name for layer in layers for i in range(layer.num_inputs) if (tensor := layer.get_input(i))}
    assert inputs <= read

    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    for name, (smallest, usual, largest) in shapes.items():
        profile.set_shape(name, smallest, usual, largest)
    config.add_optimization_profile(profile)
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None
    assert plan.nbytes > 0
