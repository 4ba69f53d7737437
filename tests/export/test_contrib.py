"""The operators that ONNX Runtime fuses in the vision tower: their bodies compute what its kernels do."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from checkpoints import Shape
from ziprerank.export import ExportOptions, export_checkpoint
from ziprerank.export.plans import inline_functions

SHAPE = Shape(deepstack=(0, 1))
MICROSOFT = "com.microsoft"


@pytest.fixture(scope="module")
def bundles(make_checkpoint, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, checkpoint = tmp_path_factory.mktemp("contrib"), str(make_checkpoint(SHAPE))
    return {
        target: export_checkpoint(checkpoint, folder / target, ExportOptions(target=target, precision="fp32"))
        for target in ("cpu", "cuda")
    }


def features(graph: Path, rows: int = 8, cols: int = 6) -> np.ndarray:
    """What the tower makes of two random pages, whose patches are in any order but for the last."""
    row, col = np.indices((rows, cols)).reshape(2, -1)
    patches = np.random.default_rng(0).integers(0, 256, (2, rows * cols, 768), np.uint8)
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(None, {"patches": patches, "patch_rows": row, "patch_cols": col})[0]


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node if node.domain == MICROSOFT)


def test_only_the_tower_of_a_gpu_has_them(bundles: dict[str, Path]) -> None:
    """A residual sum and its norm are one operator, as are the first layer of an MLP's bias and GELU."""
    found = {
        (target, graph): operators(onnx.load(bundle / graph, load_external_data=False))
        for target, bundle in bundles.items()
        for graph in ("vision.onnx", "rerank.onnx")
    }
    depth = SHAPE.vision_depth
    tower = Counter({"SkipLayerNormalization": 2 * depth, "FastGelu": depth})
    assert {where: count for where, count in found.items() if count} == {("cuda", "vision.onnx"): tower}


def test_bodies_compute_what_the_kernels_do(bundles: dict[str, Path]) -> None:
    """With the bodies in their place the graph is standard ONNX, and its features are those of the kernels."""
    graph = bundles["cuda"] / "vision.onnx"
    inlined = inline_functions(graph)
    assert not inlined.functions
    assert {node.domain for node in inlined.graph.node} <= {"", "ai.onnx"}
    plain = graph.with_name("plain.onnx")
    onnx.save(inlined, plain)
    fused, bodies, cpu = features(graph), features(plain), features(bundles["cpu"] / "vision.onnx")
    size = np.abs(cpu).max()
    np.testing.assert_allclose(fused, bodies, atol=1e-5 * size)
    np.testing.assert_allclose(fused, cpu, atol=1e-5 * size)
