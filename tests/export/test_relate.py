"""``relate.onnx`` in stock ONNX Runtime against the specification of the cosine in plain PyTorch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from checkpoints import Shape
from safetensors.numpy import load_file
from ziprerank.export import ExportOptions, export_checkpoint
from ziprerank.export import bundle as bundle_module
from ziprerank.kernels import reference

EMBEDDINGS = "model.language_model.embed_tokens.weight"


@pytest.fixture(scope="module", params=["fp32", "int4"])
def bundle(request: pytest.FixtureRequest, make_checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("relate") / request.param
    return export_checkpoint(str(make_checkpoint(Shape())), folder, ExportOptions(precision=request.param))


def related(bundle: Path, counts: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """What the graph says of pages of so many random visual tokens, one of them zero, and what the specification."""
    model = json.loads((bundle / "ziprerank.json").read_text())["model"]
    rng = np.random.default_rng(seed)
    total = sum(counts)
    pool = rng.standard_normal((total + 9, model["levels"], model["hidden_size"])).astype(np.float32)
    rows = rng.permutation(total + 9)[:total]
    pool[rows[0], 0] = 0
    ids = rng.integers(0, model["vocab_size"], 6)
    offsets = np.cumsum([0, *counts])
    session = ort.InferenceSession(bundle / "relate.onnx", providers=["CPUExecutionProvider"])
    feed = {"pool": pool, "rows": rows, "page_offsets": offsets, "text_ids": ids}
    (found,) = session.run(["relevance"], feed)
    files = [load_file(file) for file in bundle.glob("*.safetensors")]
    (table,) = [tensors[EMBEDDINGS] for tensors in files if EMBEDDINGS in tensors]
    text, visual = torch.from_numpy(table[ids]).float(), torch.from_numpy(pool[rows, 0])
    expected = [float(reference.relevance(text, visual[start:end]).sum()) for start, end in pairwise(offsets.tolist())]
    return found, np.array(expected)


@pytest.mark.parametrize("counts", [[1], [7, 1, 30, 7], [3] * 20])
def test_the_graph_computes_what_the_specification_does(bundle: Path, counts: list[int]) -> None:
    found, expected = related(bundle, counts)
    assert found.shape == (len(counts),)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert len(counts) == 1 or np.ptp(found) > 0.05


def test_it_adds_no_weights(bundle: Path) -> None:
    assert (bundle / "relate.onnx").stat().st_size < 8192
    manifest = json.loads((bundle / "ziprerank.json").read_text())
    digest = hashlib.sha256((bundle / "relate.onnx").read_bytes()).hexdigest()
    assert manifest["files"]["relate.onnx"]["sha256"] == digest
    assert "relevance" not in manifest


def test_no_id_depends_on_it(make_checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = str(make_checkpoint(Shape()))
    manifests = []
    for name in ("as it is", "another"):
        folder = export_checkpoint(checkpoint, tmp_path / name)
        manifests.append(json.loads((folder / "ziprerank.json").read_text()))

        def renamed(*given: Any, build: Callable[..., Any] = bundle_module.build_relate) -> Any:
            graph = build(*given)
            graph.graph.name = "another"
            return graph

        monkeypatch.setattr(bundle_module, "build_relate", renamed)
    one, other = manifests
    assert one["files"]["relate.onnx"] != other["files"]["relate.onnx"]
    assert [one["bundle_id"], one["features_id"]] == [other["bundle_id"], other["features_id"]]
