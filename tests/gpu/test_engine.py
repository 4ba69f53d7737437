"""The engine on a GPU's providers against the engine on the CPU in float32: the same checkpoint, pages and prompts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_helpers import ROOT, Pages, make_pages, prompt_ids, score
from numpy.typing import NDArray
from typer.testing import CliRunner
from ziprerank import Pdf, _engine
from ziprerank.bundle import Bundle
from ziprerank.cli.app import app
from ziprerank.errors import ProviderError
from ziprerank.export import ExportOptions, export_checkpoint
from ziprerank.export.plans import CAPABILITIES
from ziprerank.kernels import compile_kernels
from ziprerank.kernels.launch import TARGETS
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineOptions, load_engine
from ziprerank.runtime.onnxruntime import find_runtime
from ziprerank.runtime.providers import lacking

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu")]

# Largest difference of a letter's logit, in standard deviations of the window's logits.
TOLERANCE = {"fp32": 2e-3, "fp16": 3e-2, "bf16": 2.5e-1}


@pytest.fixture(scope="module", params=["default_checkpoint", "deepstack_checkpoint"])
def checkpoint(request: pytest.FixtureRequest) -> Path:
    """The model in the box; and random weights with DeepStack, several heads and pages of another size."""
    return Path(request.getfixturevalue(request.param))


@pytest.fixture(scope="module", params=TOLERANCE)
def bundle(request: pytest.FixtureRequest, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """For CUDA in each precision, with kernels for this device, and PTX."""
    out = tmp_path_factory.mktemp(request.param) / "bundle"
    export_checkpoint(str(checkpoint), out, ExportOptions(target="cuda", precision=request.param))
    bundle = Bundle.load(out)
    capability = 10 * torch.cuda.get_device_capability()[0] + torch.cuda.get_device_capability()[1]
    sizes = bundle.model["hidden_size"], bundle.precision, bundle.model["levels"]
    compile_kernels(out / "kernels", *sizes, targets=[capability] if capability in TARGETS else [])
    return bundle


@pytest.fixture(scope="module")
def cuda(bundle: Bundle) -> _engine.Engine:
    try:
        return load_engine(bundle, EngineOptions(provider="cuda"))
    except ProviderError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module", params=["tensorrt", "tensorrt-rtx"])
def planned(request: pytest.FixtureRequest, bundle: Bundle) -> _engine.Engine:
    """On a plan that is built here, for this device."""
    missing = lacking(request.param, find_runtime(), [])
    if missing:
        pytest.skip(f"{request.param} lacks {'; '.join(missing)}")
    if bundle.precision == "fp32":
        pytest.skip("plans are built in half precision")
    major, minor = torch.cuda.get_device_capability()
    if request.param == "tensorrt-rtx" and f"{major}.{minor}" not in CAPABILITIES:
        pytest.skip(f"TensorRT-RTX has no plans for compute capability {major}.{minor}")
    arguments = ["build", str(bundle.path), "--provider", request.param]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return load_engine(Bundle.load(bundle.path), EngineOptions(provider=request.param))


@pytest.fixture(scope="module")
def cpu(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> _engine.Engine:
    """The same checkpoint for the CPU, which for the one in the box is the bundle in the box."""
    if checkpoint.name == "default":
        return load_engine(Bundle.load())
    out = tmp_path_factory.mktemp("cpu") / "bundle"
    return load_engine(Bundle.load(export_checkpoint(str(checkpoint), out)))


@pytest.fixture(scope="module")
def pages() -> Pages:
    """Twenty pages of five sizes."""
    random = np.random.default_rng(3)
    out = make_pages()
    for height, width in [(288, 288), (416, 320), (96, 512), (64, 64)] * 4:
        page = np.full((height, width, 3), 250, np.uint8)
        for _ in range(60):
            y, x = random.integers(0, height - 6), random.integers(0, width - 20)
            page[y : y + random.integers(2, 6), x : x + random.integers(5, 20)] = random.integers(0, 160, 3)
        out.append(page)
    return out


def close(found: NDArray[Any], wanted: NDArray[Any], precision: str) -> None:
    spread = max(float(np.std(wanted)), 0.1)
    assert float(np.abs(found - wanted).max()) < TOLERANCE[precision] * spread


def test_info(cuda: _engine.Engine, gpu: str) -> None:
    info = cuda.info
    assert info["provider"] == "cuda"
    assert info["device"] == gpu
    assert info["prune_kernel"].startswith("sm_")


@pytest.mark.parametrize("count", [1, 4, 20])
@pytest.mark.parametrize("ratio", [1.0, 0.5, 0.25])
def test_scores(cuda: _engine.Engine, cpu: _engine.Engine, pages: Pages, count: int, ratio: float) -> None:
    ids = prompt_ids(cpu.info, count, seed=count)
    found, wanted = (score(engine, pages[:count], ids, ratio) for engine in (cuda, cpu))
    precision = cuda.info["precision"]
    if precision == "fp32":
        same = sum(len(np.intersect1d(a, b)) for a, b in zip(found.kept, wanted.kept, strict=True))
        assert same >= 0.999 * wanted.kept_tokens  # near ties may fall either way
    assert [len(part) for part in found.kept] == [len(part) for part in wanted.kept]
    close(found.scores, wanted.scores, precision)


@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_plans_score_as_the_cpu(
    planned: _engine.Engine, bundle: Bundle, cpu: _engine.Engine, pages: Pages, ratio: float
) -> None:
    fitting = [page for page in pages if max(page.shape[:2]) <= bundle.image.longest_side]
    for count in (1, 4, 20):
        ids, shown = prompt_ids(cpu.info, count, seed=count), (fitting * count)[:count]
        found, wanted = (score(engine, shown, ids, ratio) for engine in (planned, cpu))
        assert [len(part) for part in found.kept] == [len(part) for part in wanted.kept]
        close(found.scores, wanted.scores, planned.info["precision"])


def test_cached_pages_score_the_same(bundle: Bundle, pages: Pages) -> None:
    engine = load_engine(bundle, EngineOptions(provider="cuda"))
    ids = prompt_ids(engine.info, 20)
    first = score(engine, pages, ids).scores
    again = score(engine, pages, ids).scores
    assert engine.pool["hits"] >= 20
    close(again, first, "fp32")


def test_a_small_pool_and_many_threads_change_nothing(bundle: Bundle, cuda: _engine.Engine, pages: Pages) -> None:
    """Pages come and go, rows are scattered, windows are scored side by side on one stream."""
    rows = 2 * sum(-(-(page.shape[0] * page.shape[1] // 1024) // 32) * 32 for page in pages[:6])
    row_bytes = cuda.info["pool_bytes"] // cuda.info["pool_rows"]
    small = load_engine(bundle, EngineOptions(provider="cuda", pool_bytes=rows * row_bytes))
    choices = [np.random.default_rng(seed).permutation(6)[:5] for seed in range(8)]
    prompts = [prompt_ids(cuda.info, 5, seed) for seed in range(8)]
    alone = [score(cuda, [pages[i] for i in chosen], ids) for chosen, ids in zip(choices, prompts, strict=True)]

    def work(index: int) -> _engine.WindowScores:
        return score(small, [pages[i] for i in choices[index]], prompts[index])

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(work, [*range(8)] * 3))
    for index, result in enumerate(together):
        close(result.scores, alone[index % 8].scores, "fp32")
    assert small.pool["pinned_rows"] == 0


@pytest.mark.usefixtures("cuda")
def test_ranking_a_document(bundle: Bundle, cpu: _engine.Engine) -> None:
    """Through the Python API, over several windows; `auto` finds the GPU."""
    reranker = Reranker.from_bundle(bundle.path, provider="auto")
    assert reranker.engine.info["provider"] == "cuda"
    pages = Pdf(ROOT / "python" / "examples" / "sample.pdf", pages="1-12")
    query = "dividend shareholders board directors"
    found = reranker.rank(query, pages, window=5, stride=3)
    wanted = Reranker(bundle, cpu).rank(query, pages, window=5, stride=3)
    assert found.windows == wanted.windows > 1
    if bundle.precision == "fp32":
        assert [page.index for page in found] == [page.index for page in wanted]
    assert found.timings.vision > 0
