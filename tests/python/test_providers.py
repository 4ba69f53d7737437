"""What a provider lacks, and the libraries that are loaded for it: on packages that are put together here."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from engine_helpers import run
from ziprerank.errors import MissingDependency
from ziprerank.runtime import providers
from ziprerank.runtime.device_code import device_code
from ziprerank.runtime.onnxruntime import Runtime
from ziprerank.runtime.providers import RTX_MODULE, best, lacking, prepare


def library(path: Path, symbol: str, *needs: Path) -> Path:
    """A shared library that has one function, is linked to ``needs`` and is called as its file is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = path.parent / f"{symbol}.c"
    source.write_text(f"int {symbol}(void) {{ return 7; }}\n")
    run("cc", "-shared", "-fPIC", "-Wl,--no-as-needed", f"-Wl,-soname,{path.name}", "-o", path, source, *needs)
    return path


@pytest.fixture
def gpu_runtime(tmp_path: Path) -> Runtime:
    """Like onnxruntime-gpu: its TensorRT provider was linked with TensorRT 98 and CUDA 97."""
    capi = tmp_path / "onnxruntime" / "capi"
    needs = [
        library(tmp_path / "sdk" / name, f"sdk{i}") for i, name in enumerate(["libnvinfer.so.98", "libcudart.so.97"])
    ]
    library(capi / "libonnxruntime_providers_tensorrt.so", "provider", *needs)
    library(capi / "libonnxruntime_providers_cuda.so", "cuda")
    return Runtime(capi / "libonnxruntime.so.1.31.1", "1.31.1", ())


@pytest.fixture
def cpu_runtime(tmp_path: Path) -> Runtime:
    return Runtime(tmp_path / "libonnxruntime.so.1.32.0", "1.32.0", ("onnxruntime",))


def test_what_is_lacking_is_named_with_the_way_to_get_it(
    cpu_runtime: Runtime, gpu_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZIPRERANK_CUDA_DRIVER", "nowhere.so")
    driver = "an NVIDIA GPU and its driver"
    runtime = 'onnxruntime-gpu in place of onnxruntime (pip uninstall onnxruntime, then pip install "ziprerank[gpu]")'
    kernels = "kernels in the bundle (ziprerank export --target cuda --kernels)"

    def plan(provider: str) -> str:
        return f"a plan in the bundle (ziprerank build BUNDLE --provider {provider})"

    rtx = 'onnxruntime-ep-nv-tensorrt-rtx (pip install "ziprerank[tensorrt-rtx]")'
    files = ["vision.onnx"]
    assert lacking("cpu", cpu_runtime, files) == []
    assert lacking("cuda", cpu_runtime, files) == [runtime, driver, kernels]
    assert lacking("cuda", gpu_runtime, ["kernels/launch.txt"]) == [driver]
    old = Runtime(gpu_runtime.library, "1.26.0", ())
    newer = (
        "onnxruntime-gpu 1.27 or newer, which needs CUDA 13: 1.26.0 runs parts of the graphs on the CPU "
        '(pip install -U "onnxruntime-gpu[cuda,cudnn]>=1.27")'
    )
    assert lacking("cuda", old, ["kernels/launch.txt"]) == [newer, driver]
    assert lacking("tensorrt", cpu_runtime, []) == [runtime, driver]
    assert lacking("tensorrt", None, []) == [runtime, driver]
    tensorrt = 'tensorrt-cu97 (pip install "tensorrt-cu97==98.*")'
    assert lacking("tensorrt", gpu_runtime, files) == [tensorrt, driver, kernels, plan("tensorrt")]
    assert lacking("tensorrt-rtx", cpu_runtime, files) == [rtx, driver, plan("tensorrt-rtx")]
    assert lacking("tensorrt-rtx", cpu_runtime, ["tensorrt-rtx/plan.txt"]) == [rtx, driver]


def test_a_gpu_is_one_that_the_driver_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (0, 1):
        source = "int cuInit(unsigned flags) { return flags; }"
        source += f"int cuDeviceGetCount(int* n) {{ *n = {count}; return 0; }}"
        (tmp_path / f"{count}.c").write_text(source)
        run("cc", "-shared", "-fPIC", "-o", tmp_path / f"driver{count}.so", tmp_path / f"{count}.c")
        monkeypatch.setenv("ZIPRERANK_CUDA_DRIVER", str(tmp_path / f"driver{count}.so"))
        missing = lacking("cuda", None, [])
        assert ("an NVIDIA GPU and its driver" in missing) == (count == 0)


def driver_of(folder: Path, *found: int) -> Path:
    """A CUDA driver that sees GPUs of these compute capabilities."""
    source = folder / "driver.c"
    source.write_text(
        f"static const int found[] = {{{', '.join(map(str, found))}}};\n"
        "int cuInit(unsigned flags) { return flags; }\n"
        f"int cuDeviceGetCount(int* n) {{ *n = {len(found)}; return 0; }}\n"
        "int cuDeviceGet(int* device, int number) { *device = number + 5; return 0; }\n"
        "int cuDeviceGetAttribute(int* value, int attribute, int device) {\n"
        "  *value = attribute == 75 ? found[device - 5] / 10 : attribute == 76 ? found[device - 5] % 10 : -1;\n"
        "  return 0;\n}\n"
    )
    run("cc", "-shared", "-fPIC", "-o", folder / "driver.so", source)
    return folder / "driver.so"


def provider_for(runtime: Runtime, *entries: tuple[int, int]) -> None:
    """Gives ``runtime`` a CUDA provider with device code, each of a kind and an architecture, as nvcc leaves it."""
    capi = runtime.library.parent
    lines = ['.section .nv_fatbin, "a"', ".balign 8"]
    for kind, architecture in entries:  # a container each, with zeros behind it as the linker aligns them
        header = [f".short {kind}, 0x101", ".long 64", ".quad 24", ".quad 0", ".short 0, 0", f".long {architecture}"]
        lines += [".long 0xBA55ED50", ".short 1, 16", ".quad 88", *header, ".zero 32", ".zero 24", ".zero 16"]
    (capi / "code.s").write_text("\n".join(lines) + "\n")
    run("cc", "-shared", "-o", capi / "libonnxruntime_providers_cuda.so", capi / "code.s")


@pytest.mark.parametrize(
    ("capability", "runs"),
    [(75, False), (80, True), (86, True), (87, False), (89, True), (90, True), (100, False), (110, True), (121, True)],
)
def test_code_runs_on_its_own_kind_of_gpu(gpu_runtime: Runtime, capability: int, runs: bool) -> None:
    """Machine code of 8.0 runs on 8.9, but not on Orin's 8.7, and that of 9.0 not on 10.0; PTX runs on all newer."""
    provider_for(gpu_runtime, (2, 80), (2, 90), (1, 110))
    code = device_code(gpu_runtime.library.parent / "libonnxruntime_providers_cuda.so")
    assert (code.machine, code.ptx) == ({80, 90}, {110})
    assert str(code) == "8.0, 9.0 and PTX of 11.0"
    assert code.runs_on(capability) == runs


def test_a_library_without_device_code_says_nothing(gpu_runtime: Runtime) -> None:
    library = gpu_runtime.library.parent / "libonnxruntime_providers_cuda.so"
    assert device_code(library).runs_on(90)
    library.write_bytes(b"not a library")
    assert device_code(library).runs_on(90)


def test_a_provider_without_code_for_the_gpu_is_refused(
    gpu_runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By name, and by auto, which is the CPU then."""
    provider_for(gpu_runtime, (2, 89), (2, 90), (2, 120), (2, 121))  # as in the aarch64 wheel of 1.31.1
    monkeypatch.setenv("ZIPRERANK_CUDA_DRIVER", str(driver_of(tmp_path, 90, 87)))
    orin = "code for compute capability 8.7 (cuda:1) in onnxruntime-gpu, which has it for 8.9, 9.0, 12.0, 12.1"
    (lack,) = lacking("cuda", gpu_runtime, ["kernels/launch.txt"])
    assert lack.startswith(orin)
    assert prepare("cuda:0", gpu_runtime) == ""
    with pytest.raises(MissingDependency, match=re.escape(f"provider 'cuda:1' needs {orin}")):
        prepare("cuda:1", gpu_runtime)
    assert best("auto", gpu_runtime) == "auto"
    (other := tmp_path / "other").mkdir()
    monkeypatch.setenv("ZIPRERANK_CUDA_DRIVER", str(driver_of(other, 100)))
    assert best("auto", gpu_runtime) == "cpu"
    assert best("cuda", gpu_runtime) == "cuda"  # asked for by name: no other is taken
    with pytest.raises(MissingDependency, match=r"compute capability 10\.0 \(cuda:0\)"):
        prepare("cuda", gpu_runtime)


def test_tensorrt_is_loaded_from_its_package(
    gpu_runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingDependency, match=r"'tensorrt' needs tensorrt-cu97 \(pip install \"tensorrt-cu97==98"):
        prepare("tensorrt:1", gpu_runtime)
    package = tmp_path / "site" / "tensorrt_libs"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for name in ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser"):
        library(package / f"{name}.so.98", name)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert prepare("tensorrt", gpu_runtime) == ""
    loaded = Path("/proc/self/maps").read_text()
    assert all(f"{package}/{name}.so.98" in loaded for name in ("libnvinfer", "libnvonnxparser"))
    assert 'pip install "tensorrt' not in " ".join(lacking("tensorrt", gpu_runtime, []))


def test_the_rtx_library_is_found_in_its_package(
    cpu_runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingDependency, match="'tensorrt-rtx' needs onnxruntime-ep-nv-tensorrt-rtx"):
        prepare("tensorrt-rtx", cpu_runtime)
    package = tmp_path / "site" / RTX_MODULE
    package.mkdir(parents=True)
    plugin = package / "libonnxruntime_providers_nv_tensorrt_rtx.so"
    (package / "__init__.py").write_text(f"def get_library_path():\n    return {str(plugin)!r}\n")
    library(package / "libcudart.so.97", "runtime")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, RTX_MODULE, raising=False)
    assert prepare("tensorrt-rtx:1", cpu_runtime) == str(plugin)
    assert f"{package}/libcudart.so.97" in Path("/proc/self/maps").read_text()
    assert providers.PROVIDERS == ("cpu", "cuda", "tensorrt", "tensorrt-rtx")
    sys.modules.pop(RTX_MODULE)


@pytest.mark.parametrize("provider", ["cpu", "auto", "cuda", "tensorrt"])
def test_what_needs_nothing_loads_nothing(cpu_runtime: Runtime, provider: str) -> None:
    assert prepare(provider, cpu_runtime) == ""
