"""What a provider lacks, and the libraries that are loaded for it: on packages that are put together here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from device_libraries import driver_of, provider_of
from engine_helpers import run
from ziprerank.errors import MissingDependency
from ziprerank.runtime import providers
from ziprerank.runtime.onnxruntime import Runtime
from ziprerank.runtime.providers import RTX_MODULE, lacking, prepare


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


def test_a_gpu_that_the_cuda_provider_has_no_code_for_is_named(
    gpu_runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tests/engine/test_device_code.py has what the engine does there."""
    provider_of(gpu_runtime.library.parent, (2, 89), (2, 90), (2, 120), (2, 121))  # as in the aarch64 wheel of 1.31.1
    monkeypatch.setenv("ZIPRERANK_CUDA_DRIVER", str(driver_of(tmp_path, 90, 87)))
    (lack,) = lacking("cuda", gpu_runtime, ["kernels/launch.txt"])
    assert lack.startswith(
        "code for compute capability 8.7 (cuda:1) in onnxruntime-gpu, which has it for 8.9, 9.0, 12.0, 12.1: docs"
    )


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
