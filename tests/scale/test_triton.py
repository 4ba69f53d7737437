"""Tests of ``ziprerank triton-repo``: ONNX Runtime loads what Triton would load, and scores as the engine does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import triton_server
from fastapi.testclient import TestClient
from PIL import Image
from small_bundle import copy_default_bundle
from typer.testing import CliRunner
from ziprerank.cli.app import app
from ziprerank.errors import BundleError, EngineError, InvalidInput
from ziprerank.inputs.pages import Pdf
from ziprerank.integrations.sentence_transformers import ZipRerankCrossEncoder
from ziprerank.reranker import Reranker
from ziprerank.scale.triton import Placement, config, write_repository
from ziprerank.scale.triton_client import connect
from ziprerank.serve.app import create_app

SAMPLE = Path(__file__).parents[2] / "python" / "examples" / "sample.pdf"
QUERY = "dividend shareholders board directors"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle") / "small"
    return copy_default_bundle(out, 192, min_pixels=1024, dpi=None)


@pytest.fixture(scope="module")
def repository(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("triton") / "models"
    done = CliRunner().invoke(app, ["triton-repo", str(bundle), str(out), "--threads", "1", "--instances", "2"])
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture(scope="module")
def address(repository: Path) -> Iterator[str]:
    server, address = triton_server.start(repository)
    yield address
    server.stop(None)


@pytest.mark.parametrize("name", ["vision", "rerank"])
def test_configs_say_what_the_graphs_declare(repository: Path, bundle: Path, name: str) -> None:
    read = triton_server.read_config(repository / name)
    assert (read.name, read.backend, read.max_batch_size) == (name, "onnxruntime", 0)
    session = triton_server.load_session(repository / name)
    kinds = {"TYPE_UINT8": "uint8", "TYPE_BOOL": "bool", "TYPE_INT64": "int64", "TYPE_FP32": "float"}
    for tensors, declared in ((read.input, session.get_inputs()), (read.output, session.get_outputs())):
        named = type(read.input[0]).DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number
        found = [(one.name, f"tensor({kinds[named[one.data_type].name]})", list(one.dims)) for one in tensors]
        sizes = [[size if isinstance(size, int) else -1 for size in one.shape] for one in declared]
        assert found == [(one.name, one.type, size) for one, size in zip(declared, sizes, strict=True)]
    assert [(group.count, group.kind) for group in read.instance_group] == [(2, 2)]  # KIND_CPU
    assert read.parameters["intra_op_thread_count"].string_value == "1"
    graph = onnx.load(bundle / f"{name}.onnx", load_external_data=False).graph
    ours = "ziprerank" in {node.domain for node in graph.node}
    assert ours or name == "vision"  # pruning is our own operator in every bundle, attention only in those for the CPU
    libraries = [str(repository / "libziprerank.so")] if ours else []
    assert list(read.model_operations.op_library_filename) == libraries
    versions = [entry.name for entry in (repository / name).iterdir() if entry.is_dir()]
    assert versions == ["1"]
    assert (repository / name / "1" / "model.onnx").read_bytes() == (bundle / f"{name}.onnx").read_bytes()


def test_the_registered_library_is_what_runs(repository: Path) -> None:
    config = triton_server.read_config(repository / "rerank")
    (library,) = config.model_operations.op_library_filename
    moved = Path(library).rename(Path(library).with_suffix(".away"))
    try:
        with pytest.raises(Exception, match=r"libziprerank\.so"):
            triton_server.load_session(repository / "rerank")
    finally:
        moved.rename(library)


@pytest.mark.parametrize("keep_ratio", [1.0, 0.5, 0.25])
def test_scores_are_the_engines(repository: Path, address: str, bundle: Path, keep_ratio: float) -> None:
    reranker = Reranker.from_bundle(bundle, check="size", threads=1)
    pages = [Pdf(SAMPLE, pages="1-6")]
    expected = reranker.rank(QUERY, pages, keep_ratio=keep_ratio)
    found = connect(repository, address).rank(QUERY, pages, keep_ratio=keep_ratio)
    assert [(page.rank, page.index, page.source, page.page, page.kept) for page in found] == [
        (page.rank, page.index, page.source, page.page, page.kept) for page in expected
    ]
    assert found.tokens == expected.tokens
    np.testing.assert_allclose([page.score for page in found], [page.score for page in expected], atol=1e-4)


def test_windows_are_the_engines(repository: Path, address: str, bundle: Path) -> None:
    reranker = Reranker.from_bundle(bundle, check="size", threads=1)
    expected = reranker.rank(QUERY, SAMPLE, window=5, stride=2)
    found = connect(repository, address).rank(QUERY, SAMPLE, window=5, stride=2)
    assert [page.index for page in found] == [page.index for page in expected]


def test_a_failure_on_the_server_is_told(repository: Path, address: str) -> None:
    reranker = connect(repository, address)
    with pytest.raises(EngineError, match="rerank on the server failed"):
        reranker.engine.host.rerank.run(["scores"], {"keep": np.zeros((2, 2), np.int64)})  # type: ignore[attr-defined]


@pytest.mark.parametrize("options", [{"keep_ratio": 5.0}, {"top_k": 0}, {"window": 21}, {"stride": 0, "window": 4}])
def test_options_are_checked_as_every_rerankers(repository: Path, address: str, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(options))):
        connect(repository, address).rank(QUERY, SAMPLE, **options)


def test_a_page_is_encoded_once(repository: Path, address: str) -> None:
    reranker = connect(repository, address)
    pages = [Pdf(SAMPLE, pages="1-6")]
    first = reranker.rank(QUERY, pages, window=4, stride=2)
    again = reranker.rank("salmon soup", pages)
    pool = reranker.engine.pool
    assert (pool["misses"], pool["evictions"], pool["pages"]) == (6, 0, 6)
    assert (first.pages, again.pages) == (6, 6)
    small = connect(repository, address, pool_bytes=1)
    small.rank(QUERY, pages)
    assert (small.engine.pool["pages"], small.engine.pool["evictions"]) == (1, 5)


def test_an_engine_on_a_server_cannot_be_written_down(repository: Path, address: str) -> None:
    with pytest.raises(InvalidInput, match="'triton' cannot be loaded by options"):
        _ = connect(repository, address).options


def test_adapters_and_the_service_take_an_engine_on_a_server(repository: Path, address: str) -> None:
    reranker = connect(repository, address)
    with Image.new("RGB", (200, 200), "white") as picture:
        assert len(ZipRerankCrossEncoder(reranker=reranker).rank(QUERY, [picture, picture])) == 2
    with TestClient(create_app(reranker)) as client:
        assert (client.get("/info").json()["provider"], client.get("/info").json()["runtime_version"]) == ("triton", "")
        answer = client.post("/v1/rerank/files", data={"query": QUERY}, files={"files": SAMPLE.read_bytes()})
        assert [one["page"] for one in answer.json()["results"]] == [page.page for page in reranker.rank(QUERY, SAMPLE)]


def test_a_server_without_the_models(repository: Path) -> None:
    with pytest.raises(EngineError, match="'vision'"):
        connect(repository, "127.0.0.1:1")


def test_a_server_that_sees_the_repository_elsewhere(bundle: Path) -> None:
    model = onnx.load(bundle / "rerank.onnx", load_external_data=False)
    text = config(model, "rerank", Placement("gpu"), None)
    assert "KIND_GPU" in text
    assert "op_library" not in text
    done = CliRunner().invoke(app, ["triton-repo", str(bundle), str(bundle / "t"), "--at", "/models"])
    assert done.exit_code == 0
    config_text = (bundle / "t" / "rerank" / "config.pbtxt").read_text()
    assert 'op_library_filename: "/models/libziprerank.so"' in config_text


def test_what_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="exported for cpu, but the repository is for gpu"):
        write_repository(bundle, tmp_path / "gpu", Placement("gpu"))
    with pytest.raises(InvalidInput, match="already exists"):
        write_repository(bundle, tmp_path)
    with pytest.raises(InvalidInput, match="0 instances"):
        write_repository(bundle, tmp_path / "none", Placement(instances=0))
    assert list(tmp_path.iterdir()) == []
