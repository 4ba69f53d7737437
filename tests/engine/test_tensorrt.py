"""The engine's providers `tensorrt` and `tensorrt-rtx` without a GPU, on the stand-ins of test_cuda.py.

What is checked are the calls: what is registered and appended, in which order and with which options, which device is
chosen and which files are opened. Where a plan's graphs would be, these bundles have graphs that the CPU runs, so that
pages, pool, stream and scores go the whole way. What TensorRT makes of it is for tests/gpu.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from fake_gpu import DRIVER, Result, Session, same_windows
from ziprerank.bundle import Bundle

pytestmark = pytest.mark.skipif(shutil.which("cmake") is None, reason="needs CMake")

RTX_LIBRARY = "/plugins/libonnxruntime_providers_nv_tensorrt_rtx.so"
RTX = {"provider": "tensorrt-rtx", "FAKE_CUDA_CAPABILITY": "89", "FAKE_RTX_DEVICES": "0"}
NVIDIA = "NvTensorRTRTXExecutionProvider"
PROFILES = """\
profile vision.onnx patches 1x4x768 1x64x768 1x4096x768
profile vision.onnx patch_rows 4 64 4096
profile rerank.onnx pool 1x4x256 100x4x256 100000x4x256
profile rerank.onnx text_ids 2 64 2048
"""


def with_plan(bundle: Path, out: Path, provider: str, graphs: list[str], text: str) -> Path:
    """A copy of ``bundle`` whose plan has the graphs themselves in place of built ones."""
    shutil.copytree(bundle, out, copy_function=os.link)
    folder = out / provider
    folder.mkdir()
    (folder / "plan.txt").write_text(text)
    for file in [*graphs, *(file.name for file in bundle.glob("*.safetensors"))]:
        os.link(bundle / file, folder / file)
    return out


@pytest.fixture(scope="module")
def rtx_bundle(cuda_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without kernels: a plan for TensorRT-RTX holds the operator's body."""
    head = "ziprerank-plan 1\nbuilder TensorRT-RTX 1.7.1.116\nprecision bf16\ncapability 8.9\ncapability 12.0\n"
    out = tmp_path_factory.mktemp("rtx") / "bundle"
    with_plan(cuda_bundle, out, "tensorrt-rtx", ["vision.onnx", "rerank.onnx"], head + PROFILES)
    shutil.rmtree(out / "kernels")
    return out


@pytest.fixture(scope="module")
def trt_bundle(cuda_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    head = "ziprerank-plan 1\nbuilder TensorRT of onnxruntime 1.31.1\nprecision bf16\ncapability 9.0\n"
    out = tmp_path_factory.mktemp("trt") / "bundle"
    return with_plan(cuda_bundle, out, "tensorrt", ["vision.onnx"], head + PROFILES)


@pytest.fixture(scope="module")
def rtx(session: Session, rtx_bundle: Path) -> Result:
    return session(rtx_bundle, "--provider-library", RTX_LIBRARY, **RTX)


@pytest.fixture(scope="module")
def trt(session: Session, trt_bundle: Path) -> Result:
    return session(trt_bundle, provider="tensorrt")


def opened(result: Result, bundle: Path) -> list[str]:
    """The graphs that were opened, in the bundle."""
    return [str(Path(call[0]).relative_to(bundle)) for call in result.of("session")]


def test_rtx_registers_the_library_once_and_opens_the_plan(rtx: Result, rtx_bundle: Path) -> None:
    assert rtx.of("register") == [[NVIDIA, RTX_LIBRARY]]
    assert opened(rtx, rtx_bundle) == ["tensorrt-rtx/vision.onnx", "tensorrt-rtx/rerank.onnx"]
    assert rtx.of("append") == [[NVIDIA]] * 3  # a trial, then the two graphs
    assert rtx.of("operator") == []


def test_rtx_runs_on_the_stream_that_pages_are_copied_for(rtx: Result) -> None:
    (compute,) = {int(value) for name, value in rtx.of("rtx_option") if name == "user_compute_stream"}
    assert {name for name, _ in rtx.of("rtx_option")} == {"has_user_compute_stream", "user_compute_stream"}
    assert ["has_user_compute_stream", "1"] in rtx.of("rtx_option")
    created = {int(stream, 0): flags for stream, flags in rtx.of("cuStreamCreate")}
    assert created[compute] == "1"
    assert int(rtx.of("cuStreamSynchronize")[0][0], 0) == compute
    assert rtx.of("run_option") == [["disable_synchronize_execution_providers"]] * len(rtx.of("run_option"))


def test_rtx_scores_as_the_cpu(rtx: Result, cpu: Result) -> None:
    same_windows(rtx, cpu)
    info = rtx.output["info"]
    assert (info["provider"], info["prune_kernel"]) == ("tensorrt-rtx", "plan")
    assert info["plan"] == "TensorRT-RTX 1.7.1.116 for 8.9, 12.0"


def test_rtx_takes_the_device_of_the_driver_whatever_its_place_in_the_list(session: Session, rtx_bundle: Path) -> None:
    settings = RTX | {"provider": "tensorrt-rtx:1", "FAKE_RTX_DEVICES": "2,1", "FAKE_CUDA_DEVICES": "3"}
    second = session(rtx_bundle, "--provider-library", RTX_LIBRARY, "--cache", "/tmp/kernels", **settings)
    assert second.of("rtx_device") == [["0000:01:00.0"]] * 3
    assert second.output["info"]["provider"] == "tensorrt-rtx:1"
    assert ["nv_runtime_cache_path", "/tmp/kernels"] in second.of("rtx_option")


def test_tensorrt_stands_in_front_of_cuda_which_runs_the_operator(trt: Result, cpu: Result, trt_bundle: Path) -> None:
    same_windows(trt, cpu)
    assert trt.of("append") == [["TensorRT"], ["CUDA"]] * 3
    assert opened(trt, trt_bundle) == ["tensorrt/vision.onnx", "rerank.onnx"]
    assert [call[0] for call in trt.of("operator")] == ["QueryImagePrune"]
    assert len(trt.of("cuLaunchKernel")) == 3 * len(trt.output["windows"])
    info = trt.output["info"]
    assert (info["provider"], info["prune_kernel"]) == ("tensorrt", "sm_90 cubin")
    assert info["plan"] == "TensorRT of onnxruntime 1.31.1 for 9.0"


def test_tensorrt_keeps_the_table_of_embeddings_on_the_gpu(trt: Result, trt_bundle: Path) -> None:
    table = Bundle.load(trt_bundle, check="none").model["vocab_size"] * 256 * 4
    assert str(table) not in {size for size, _ in trt.of("cuMemHostAlloc")}


def test_tensorrt_is_told_cache_precision_and_sizes(trt: Result, trt_bundle: Path) -> None:
    options = trt.of("tensorrt_option")
    assert {value for name, value in options if name == "user_compute_stream"} == {trt.stream}
    assert [value for name, value in options if name == "device_id"] == ["0"] * 3
    rerank = dict(options)  # of the last session, where a name was set again
    folder = str(trt_bundle / "tensorrt")
    assert (
        rerank.items()
        >= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": folder,
            "trt_bf16_enable": "1",
            "trt_op_types_to_exclude": "QueryImagePrune",
            "trt_profile_min_shapes": "pool:1x4x256,text_ids:2",
            "trt_profile_opt_shapes": "pool:100x4x256,text_ids:64",
            "trt_profile_max_shapes": "pool:100000x4x256,text_ids:2048",
        }.items()
    )
    # vision.onnx is built: its options are the device and the stream
    assert sum(name == "trt_engine_cache_enable" for name, _ in options) == 1


def test_a_graph_that_is_not_built_gets_its_sizes(session: Session, trt_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(trt_bundle, tmp_path / "bundle", copy_function=os.link))
    (bundle / "tensorrt" / "vision.onnx").unlink()
    cache = tmp_path / "cache"
    result = session(bundle, "--cache", str(cache), provider="tensorrt:1", FAKE_CUDA_DEVICES="2")
    assert opened(result, bundle) == ["vision.onnx", "rerank.onnx"]
    options = result.of("tensorrt_option")
    largest = [value for name, value in options if name == "trt_profile_max_shapes"]
    assert largest == ["patches:1x4096x768,patch_rows:4096"] * 2 + ["pool:100000x4x256,text_ids:2048"]
    assert {value for name, value in options if name == "trt_engine_cache_path"} == {str(cache)}
    assert cache.is_dir()
    assert ["device_id", "1"] in options


def test_a_cache_that_cannot_be_written(session: Session, trt_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    name, message = session(trt_bundle, "--cache", str(tmp_path / "file" / "cache"), provider="tensorrt").output[
        "error"
    ]
    assert name == "ProviderError"
    assert "holds no engines of TensorRT and cannot be written to: let cache (ZIPRERANK_TENSORRT_CACHE) name" in message


@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        ({"FAKE_CUDA_CAPABILITY": "90"}, "ProviderError", "Fake GPU has 9.0: use provider cuda or tensorrt"),
        (
            {"FAKE_CUDA_CAPABILITY": "86"},
            "BundleError",
            "for compute capability 8.9, 12.0, Fake GPU has 8.6: build one with ziprerank build ",
        ),
        ({"FAKE_CUDA_CAPABILITY": "86"}, "BundleError", " --provider tensorrt-rtx --capability 8.6"),
        ({DRIVER: "nowhere.so"}, "ProviderError", "driver's library cannot be loaded (nowhere.so"),
        ({"FAKE_RTX_DEVICES": ""}, "ProviderError", f"{NVIDIA} does not offer Fake GPU as a device"),
        ({"FAKE_RTX_DEVICES": "1"}, "ProviderError", f"{NVIDIA} does not offer Fake GPU as a device"),
        (
            {"FAKE_RTX_ERROR": "no libtensorrt_rtx.so.1"},
            "ProviderError",
            f"from {RTX_LIBRARY}: no libtensorrt_rtx.so.1; it needs ONNX Runtime 1.24 or newer",
        ),
    ],
)
def test_rtx_errors(session: Session, rtx_bundle: Path, settings: dict[str, str], kind: str, text: str) -> None:
    name, message = session(rtx_bundle, "--provider-library", RTX_LIBRARY, **RTX | settings).output["error"]
    assert name == kind
    assert text in message


def test_rtx_wants_its_library_and_a_plan(session: Session, rtx_bundle: Path, cuda_bundle: Path) -> None:
    name, message = session(rtx_bundle, **RTX).output["error"]
    assert name == "ProviderError"
    assert 'which pip install "ziprerank[tensorrt-rtx]" brings' in message
    name, message = session(cuda_bundle, "--provider-library", RTX_LIBRARY, **RTX).output["error"]
    assert name == "BundleError"
    assert f"build it with ziprerank build {cuda_bundle} --provider tensorrt-rtx" in message


@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        ({"FAKE_NO_TENSORRT": "1"}, "ProviderError", "and no TensorrtExecutionProvider: install onnxruntime-gpu"),
        (
            {"FAKE_TENSORRT_ERROR": "no libnvinfer.so.10"},
            "ProviderError",
            'no libnvinfer.so.10; it needs libnvinfer of the TensorRT that it was built for, which pip install "ziprer',
        ),
        (
            {"FAKE_CUDA_CAPABILITY": "120"},
            "BundleError",
            "for compute capability 9.0, Fake GPU has 12.0: build it here with ziprerank build ",
        ),
    ],
)
def test_tensorrt_errors(session: Session, trt_bundle: Path, settings: dict[str, str], kind: str, text: str) -> None:
    name, message = session(trt_bundle, provider="tensorrt", **settings).output["error"]
    assert name == kind
    assert text in message


def test_sizes_outside_the_plan(session: Session, rtx_bundle: Path, tmp_path: Path) -> None:
    """Each input is held against its profile before the graph runs."""

    def error(old: str, new: str) -> str:
        bundle = tmp_path / new
        shutil.copytree(rtx_bundle, bundle, copy_function=os.link)
        plan = bundle / "tensorrt-rtx" / "plan.txt"
        text = plan.read_text()
        plan.unlink()  # it is linked
        plan.write_text(text.replace(old, new))
        name, message = session(bundle, "--provider-library", RTX_LIBRARY, **RTX).output["error"]
        assert name in ("InvalidInput", "BundleError")
        return str(message)

    assert "vision.onnx: patch_rows is [320], the plan takes [4] to [63]: use smaller" in error("4096\n", "63\n")
    small = "1x4x256 9x4x256 99x4x256"
    message = error("1x4x256 100x4x256 100000x4x256", small)
    assert "pool is [4096, 4, 256], the plan takes [1, 4, 256] to [99, 4, 256]: lower pool_bytes" in message
    assert "line 8: cannot read 'profile rerank.onnx pool 1x4x256 9x'" in error("100x4x256 100000x4x256", "9x")
    assert "has format version 2, this engine reads 1 to 1" in error("plan 1", "plan 2")
