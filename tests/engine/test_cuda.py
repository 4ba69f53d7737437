"""The engine's `cuda` provider without a GPU.

A driver library and an ONNX Runtime take the places of a GPU's in a process of their own (fake_gpu.py). The kernels are
compiled for real, and the driver records what it is asked to launch.

That is a check of the calls, and of what the engine does with pages, buffers and results; not of what a GPU does with
them, nor of ONNX Runtime's CUDA provider: tests/gpu is.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import cubin
import onnx
import pytest
from fake_gpu import DRIVER, Result, Session, same_windows
from ziprerank import _engine
from ziprerank.bundle import Bundle
from ziprerank.errors import ProviderError
from ziprerank.export.config import EMBEDDINGS

pytestmark = pytest.mark.skipif(shutil.which("cmake") is None, reason="needs CMake")


@dataclass(frozen=True)
class Launch:
    """One ``cuLaunchKernel``: name, grid, block, shared bytes, stream, and (size, value) of each parameter."""

    name: str
    grid: list[int]
    block: list[int]
    shared: int
    stream: str
    parameters: list[tuple[int, int]]

    @staticmethod
    def of(words: list[str]) -> Launch:
        name, numbers, stream, extra = words[0], [int(word) for word in words[1:8]], words[8], words[9]
        assert extra == "(nil)"
        parameters = [(int(size), int(value, 0)) for size, value in (word.split(":") for word in words[10:])]
        return Launch(name, numbers[:3], numbers[3:6], numbers[6], stream, parameters)


@pytest.fixture(scope="module")
def cuda(session: Session, cuda_bundle: Path) -> Result:
    return session(cuda_bundle)


def test_windows_score_as_on_the_cpu(cuda: Result, cpu: Result) -> None:
    """Right pointers, sizes and order: the driver computes each kernel from exactly what it was passed."""
    same_windows(cuda, cpu)
    assert cpu.calls == []


def test_info_names_the_device(cuda: Result, cpu: Result, session: Session, cuda_bundle: Path) -> None:
    info = cuda.output["info"]
    assert info["provider"] == "cuda"
    assert info["device"] == "Fake GPU"
    assert info["compute_capability"] == "9.0"
    assert info["prune_kernel"] == "sm_90 cubin"
    assert info["driver_library"].endswith("libfake_cuda_driver.so")
    assert [cpu.output["info"][name] for name in ("provider", "device", "compute_capability")] == ["cpu", "", ""]
    second = session(cuda_bundle, provider="cuda:1", FAKE_CUDA_DEVICES="2")
    assert second.output["info"]["provider"] == "cuda:1"
    assert ["device_id", "1"] in second.of("provider_option")


@pytest.mark.parametrize("capability", [90, 121])
def test_launches_are_what_the_compiled_kernels_take(
    session: Session, cuda_bundle: Path, cpu: Result, capability: int
) -> None:
    """Against launch.json and the cubins themselves; 12.1 has no cubin here and takes the PTX."""
    result = session(cuda_bundle, FAKE_CUDA_CAPABILITY=str(capability))
    same_windows(result, cpu)
    kernels = json.loads((cuda_bundle / "kernels" / "launch.json").read_text())["kernels"]
    kind = "cubin" if capability == 90 else "ptx"
    targets = [next(row for row in kernel["targets"] if row["kind"] == kind) for kernel in kernels]
    codes = [(cuda_bundle / "kernels" / target["file"]).read_bytes() for target in targets]
    assert [(int(length), int(digest, 16)) for length, digest in result.of("cuModuleLoadDataEx")] == [
        identity(code) for code in codes
    ]
    assert [call[2] for call in result.of("cuModuleGetFunction")] == [target["entry"] for target in targets]
    assert [call[1:] for call in result.of("cuFuncSetAttribute")] == [
        ["8", str(target["shared"])] for target in targets if target["shared"] > 48 * 1024
    ]

    launches = [Launch.of(words) for words in result.of("cuLaunchKernel")]
    windows = result.output["windows"]
    assert len(launches) == 3 * len(windows)
    cubins = [next(row for row in kernel["targets"] if row["kind"] == "cubin") for kernel in kernels]
    for number, window in enumerate(windows):
        lengths = {"T": window["text"], "N": window["visual"], "K": window["pages"]}
        values: dict[str, int] = {}
        for launch, kernel, target, compiled in zip(launches[3 * number :][:3], kernels, targets, cubins, strict=True):
            assert launch.name == target["entry"]
            assert launch.grid == [-(-lengths[kernel["grid_over"]] // target["grid_step"]), 1, 1]
            assert launch.block == [target["threads"], 1, 1]
            assert launch.shared == target["shared"]
            assert launch.stream == result.stream
            code = (cuda_bundle / "kernels" / compiled["file"]).read_bytes()
            assert [size for size, _ in launch.parameters] == [
                size for _, size in cubin.parameters(code, compiled["entry"])
            ]
            for (_, value), argument in zip(launch.parameters, kernel["arguments"], strict=True):
                assert values.setdefault(argument["name"], value) == value  # what one kernel writes, the next reads
                assert value % argument.get("align", 1) == 0
        assert values.pop("T") == lengths["T"]
        assert values.pop("N") == lengths["N"]
        assert values.pop("global_scratch") == values.pop("profile_scratch") == 0
        assert len(set(values.values())) == len(values)
        assert 0 not in values.values()


def identity(code: bytes) -> tuple[int, int]:
    """Length and FNV-1a hash of what the driver was handed, as fakes/cuda_driver.c takes them."""
    if code[:4] == b"\x7fELF":
        code = code[: int.from_bytes(code[0x28:0x30], "little")]
    digest = 0xCBF29CE484222325
    for byte in code:
        digest = (digest ^ byte) * 0x100000001B3 & (2**64 - 1)
    return len(code), digest


def test_pages_are_enqueued_without_waiting_and_scores_wait_once(cuda: Result) -> None:
    """While pages are encoded the host waits for free buffers only; before it scores, for all pages."""
    stream = cuda.stream
    steps = [call[0] for call in cuda.calls if call[0] in ("run_option", "cuStreamSynchronize", "cuLaunchKernel")]
    new_pages = [1, 3, 0, 2, 0, 0]  # of each window; the others are in the pool
    expected: list[str] = []
    for pages in new_pages:
        expected += ["run_option"] * pages + ["cuStreamSynchronize"] + ["cuLaunchKernel"] * 3
    assert steps[: len(expected)] == expected
    assert {call[0] for call in cuda.of("run_option")} == {"disable_synchronize_execution_providers"}
    assert cuda.of("cuStreamSynchronize")[0] == [stream]
    created = dict(cuda.of("cuStreamCreate"))
    assert created[stream] == "1"  # non-blocking
    copies = {call[-1] for call in cuda.of("cuMemcpyHtoDAsync")} - {stream}
    assert len(copies) == 1
    assert copies <= created.keys()


def test_features_of_scattered_rows_are_copied_on_the_device(session: Session, cuda_bundle: Path, cpu: Result) -> None:
    """A pool with room for one window: pages are evicted, and some stand in several runs of rows."""
    small = session(cuda_bundle, "--pool", "320")
    assert small.output["evictions"] > 0
    same_windows(small, cpu)
    copies = small.of("cuMemcpyDtoDAsync")
    assert sum(int(size) for size, _ in copies) == 81 * 4 * 256 * 4  # page 2, block by block
    assert {on for _, on in copies} == {small.stream}


def test_features_leave_the_device_and_come_back(session: Session, cuda_bundle: Path) -> None:
    """In a second engine whose pool is so small that a page's rows are scattered; copies are waited for."""
    result = session(cuda_bundle, "--restore")
    assert result.output["restored"] == [window["scores"] for window in result.output["windows"]]
    tokens = [81, 80, 81, 10, 80, 10]
    out = result.of("cuMemcpyDtoHAsync")
    assert [int(size) for _, size, _ in out] == [count * 4 * 256 * 4 for count in tokens]
    steps = [call for call in result.calls if call[0] in ("cuMemcpyDtoHAsync", "cuStreamSynchronize")]
    for place, call in enumerate(steps):
        if call[0] == "cuMemcpyDtoHAsync":
            assert steps[place + 1] == ["cuStreamSynchronize", call[-1]]


def test_the_operator_is_registered_for_cuda_with_its_counts_on_the_host(cuda: Result) -> None:
    default, host = "0", "-2"
    memory = [default, default, host, host, default, default]  # page_offsets and keep
    assert cuda.of("operator") == [["QueryImagePrune", "CUDAExecutionProvider", *memory]]
    options = cuda.of("provider_option")
    assert ["device_id", "0"] in options
    assert ["use_tf32", "0"] in options


def tables(result: Result, bundle: Path) -> int:
    """How often pinned memory of the host was asked for that the table of token embeddings fills."""
    bytes_ = Bundle.load(bundle).model["vocab_size"] * 256 * 4
    return [int(size) for size, _ in result.of("cuMemHostAlloc")].count(bytes_)


def test_the_table_of_embeddings_is_in_pinned_memory_of_the_host(cuda: Result, cuda_bundle: Path) -> None:
    """`test_windows_score_as_on_the_cpu` says that it holds what it should."""
    assert tables(cuda, cuda_bundle) == 1
    assert cuda.of("mem_pattern") == [["off"]] * len(cuda.of("append"))


def test_a_table_that_is_not_in_its_file_is_refused(session: Session, cuda_bundle: Path, tmp_path: Path) -> None:
    """It is left to ONNX Runtime, which says what is wrong."""
    other = Path(shutil.copytree(cuda_bundle, tmp_path / "bundle"))
    model = onnx.load(other / "rerank.onnx", load_external_data=False)
    table = next(tensor for tensor in model.graph.initializer if tensor.name == EMBEDDINGS)
    next(entry for entry in table.external_data if entry.key == "offset").value = str(1 << 40)
    (other / "rerank.onnx").write_bytes(model.SerializeToString())
    refused = session(other)
    kind, text = refused.output["error"]
    assert kind == "BundleError"
    assert "rerank.onnx cannot be loaded" in text
    assert tables(refused, cuda_bundle) == 0


def test_everything_is_given_back(cuda: Result) -> None:
    for take, give in (
        ("cuMemAlloc", "cuMemFree"),
        ("cuMemHostAlloc", "cuMemFreeHost"),
        ("cuStreamCreate", "cuStreamDestroy"),
        ("cuEventCreate", "cuEventDestroy"),
        ("cuModuleLoadDataEx", "cuModuleUnload"),
        ("cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease"),
    ):
        assert len(cuda.of(take)) == len(cuda.of(give)) > 0


@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        (
            {DRIVER: "nowhere.so"},
            "ProviderError",
            "driver's library cannot be loaded (nowhere.so: cannot open",
        ),
        ({DRIVER: "libm.so.6"}, "ProviderError", "libm.so.6 has no cuInit: it is no NVIDIA driver"),
        ({"FAKE_CUDA_FAIL": "cuInit:100"}, "ProviderError", "cuInit failed: no CUDA-capable device is detected (100)"),
        ({"FAKE_CUDA_DEVICES": "0"}, "ProviderError", "there is no cuda:0: the driver shows 0 devices"),
        ({"FAKE_PROVIDER_ERROR": "no libcudnn.so.9"}, "ProviderError", "no libcudnn.so.9; it needs the CUDA and cuDNN"),
        (
            {"FAKE_ONNXRUNTIME_VERSION": "1.26.0"},
            "ProviderError",
            "provider 'cuda' cannot be used: the CUDA provider of ONNX Runtime 1.26.0 runs parts of the graphs on the "
            "CPU, with copies between it and the GPU: install 1.27 or newer, which needs CUDA 13",
        ),
        ({"FAKE_ONNXRUNTIME_VERSION": "1.24.4"}, "ProviderError", "on the CPU and stores attention's S x S scores"),
        (
            {"FAKE_CUDA_CAPABILITY": "75"},
            "BundleError",
            "cannot run on compute capability 7.5: the bundle holds it for 9.0, 8.0 or newer (PTX)",
        ),
        ({"FAKE_CUDA_FAIL": "cuMemAlloc:2"}, "PoolError", "on Fake GPU, where 1000 of 2000 bytes are free"),
        (
            {"FAKE_CUDA_FAIL": "cuLaunchKernel:719"},
            "EngineError",
            "QueryImagePrune: cuLaunchKernel failed: unspecified launch failure (719)",
        ),
        ({"FAKE_CUDA_FAIL": "cuMemcpyHtoDAsync:1"}, "EngineError", "cuMemcpyHtoDAsync_v2 failed"),
        ({"FAKE_CUDA_FAIL": "cuStreamSynchronize:719"}, "DeviceLost", "cuStreamSynchronize failed"),
    ],
)
def test_errors(session: Session, cuda_bundle: Path, settings: dict[str, str], kind: str, text: str) -> None:
    name, message = session(cuda_bundle, **settings).output["error"]
    assert name == kind
    assert text in message


def test_a_named_provider_is_never_replaced(
    session: Session, default_bundle: Path, cuda_bundle: Path, runtime_library: str, tmp_path: Path
) -> None:
    with pytest.raises(
        ProviderError,
        match=r"provider 'cuda' cannot be used: ONNX Runtime [\d.]+ offers .*CPUExecutionProvider and no CUDAExec.*: "
        r"install onnxruntime-gpu in place of onnxruntime",
    ):
        _engine.Engine(str(cuda_bundle), runtime_library, provider="cuda")
    for provider in ("tpu", "cuda:", "cuda:x", "cuda:-1"):
        with pytest.raises(
            ProviderError, match=f"provider '{provider}' is none of auto, cpu, cuda, tensorrt and tensorrt-rtx"
        ):
            _engine.Engine(str(default_bundle), runtime_library, provider=provider)
    name, message = session(default_bundle).output["error"]
    assert name == "BundleError"
    assert "kernels/launch.txt cannot be read" in message
    assert "--target cuda --kernels" in message
    other = Path(shutil.copytree(cuda_bundle, tmp_path / "bundle"))
    table = other / "kernels" / "launch.txt"
    table.write_text(table.read_text().replace("model 256 4", "model 128 4"))
    name, message = session(other).output["error"]
    assert name == "BundleError"
    assert "kernels/ was compiled for hidden size 128, 4 levels, fp32; the bundle has 256, 4, fp32" in message


def test_auto_is_cuda_where_it_runs(session: Session, cuda_bundle: Path, default_bundle: Path) -> None:
    def provider(bundle: Path, **settings: str) -> str:
        return str(session(bundle, provider="auto", **settings).output["info"]["provider"])

    assert provider(cuda_bundle) == "cuda"
    assert provider(cuda_bundle, ZIPRERANK_CUDA_DRIVER="nowhere.so") == "cpu"
    assert provider(cuda_bundle, FAKE_CUDA_DEVICES="0") == "cpu"
    assert provider(default_bundle) == "cpu"  # exported for the CPU
