"""Knows what each execution provider needs beside the engine: packages, libraries, a GPU, a part of the bundle."""

from __future__ import annotations

import ctypes
import importlib
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ziprerank.errors import MissingDependency
from ziprerank.runtime.gpus import capabilities, without_code
from ziprerank.runtime.onnxruntime import OLDEST_CUDA, Runtime, preload_cuda

PROVIDERS = ("cpu", "cuda", "tensorrt", "tensorrt-rtx")
RTX_MODULE = "onnxruntime_ep_nv_tensorrt_rtx"

_GPU_RUNTIME = 'onnxruntime-gpu in place of onnxruntime (pip uninstall onnxruntime, then pip install "ziprerank[gpu]")'
_RTX_PACKAGE = 'onnxruntime-ep-nv-tensorrt-rtx (pip install "ziprerank[tensorrt-rtx]")'
_DRIVER = "an NVIDIA GPU and its driver"
# in the order in which they need one another
_TENSORRT = ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser")


def prepare(provider: str, runtime: Runtime) -> str:
    """Loads the libraries that pip brought for ``provider`` and the system's loader never finds.

    Returns:
        The path of the provider's own library where the engine must be told of one, else "".

    Raises:
        MissingDependency: A package is missing; the error says which.
    """
    kind = provider.partition(":")[0]
    if kind != "cpu" and "onnxruntime-gpu" in runtime.distributions:
        preload_cuda()
    if kind == "tensorrt" and (library := _beside(runtime, kind)) is not None:
        _load_tensorrt(library)
    if kind == "tensorrt-rtx":
        return _load_rtx()
    return ""


def lacking(provider: str, runtime: Runtime | None, files: Sequence[str]) -> list[str]:
    """Lists what ``provider`` lacks here and how to get it; ``files`` are the bundle's, empty without one."""
    missing: list[str] = []
    if provider == "cpu":
        return missing
    if provider == "tensorrt-rtx":
        if find_spec(RTX_MODULE) is None:
            missing.append(_RTX_PACKAGE)
    elif runtime is None or (library := _beside(runtime, provider)) is None:
        missing.append(_GPU_RUNTIME)
    elif provider == "tensorrt" and _tensorrt_folder(library) is None:
        missing.append(_tensorrt_package(library))
    elif provider == "cuda" and len(runtime.release) == 2 and runtime.release < OLDEST_CUDA:
        missing.append(_newer(runtime))
    gpus = len(capabilities())
    if not gpus:
        missing.append(_DRIVER)
    elif provider == "cuda" and runtime is not None and (library := _beside(runtime, provider)) is not None:
        missing += [lack for number in range(gpus) if (lack := without_code(library, number)) is not None]
    if files and provider != "tensorrt-rtx" and "kernels/launch.txt" not in files:
        missing.append("kernels in the bundle (ziprerank export --target cuda --kernels)")
    if files and provider != "cuda" and f"{provider}/plan.txt" not in files:
        missing.append(f"a plan in the bundle (ziprerank build BUNDLE --provider {provider})")
    return missing


def _newer(runtime: Runtime) -> str:
    wanted = ".".join(map(str, OLDEST_CUDA))
    return (
        f"onnxruntime-gpu {wanted} or newer, which needs CUDA 13: {runtime.version} runs parts of the graphs on the "
        f'CPU (pip install -U "onnxruntime-gpu[cuda,cudnn]>={wanted}")'
    )


def _beside(runtime: Runtime, provider: str) -> Path | None:
    """ONNX Runtime's library for ``provider``, where the installed build has one."""
    return next(iter(runtime.library.parent.glob(f"libonnxruntime_providers_{provider}.*")), None)


def _load_tensorrt(library: Path) -> None:
    major = _wanted(library, "libnvinfer")
    folder = _tensorrt_folder(library)
    try:
        for name in _TENSORRT:
            file = f"{name}.so.{major}"
            ctypes.CDLL(str(folder / file) if folder is not None else file, mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        package = _tensorrt_package(library)
        raise MissingDependency(f"provider 'tensorrt' needs {package}: {error}") from error


def _tensorrt_folder(library: Path) -> Path | None:
    """Where pip put the TensorRT that ``library`` was built for."""
    spec = find_spec("tensorrt_libs")
    folders = [] if spec is None else [Path(folder) for folder in spec.submodule_search_locations or ()]
    file = f"{_TENSORRT[0]}.so.{_wanted(library, _TENSORRT[0])}"
    return next((folder for folder in folders if (folder / file).is_file()), None)


def _tensorrt_package(library: Path) -> str:
    package = f"tensorrt-cu{_wanted(library, 'libcudart')}"
    return f'{package} (pip install "{package}=={_wanted(library, "libnvinfer")}.*")'


def _wanted(library: Path, dependency: str) -> str:
    """The major version of ``dependency`` that a shared library asks for, by the name that it was linked with."""
    found = re.search(rb"\0" + dependency.encode() + rb"\.so\.(\d+)\0", library.read_bytes())
    return found.group(1).decode() if found else "?"


def _load_rtx() -> str:
    if find_spec(RTX_MODULE) is None:
        raise MissingDependency(f"provider 'tensorrt-rtx' needs {_RTX_PACKAGE}")
    plugin = importlib.import_module(RTX_MODULE)  # loads TensorRT-RTX, which it brings
    path = Path(plugin.get_library_path())
    for runtime in path.parent.glob("libcudart.so.*"):  # it brings this too, and leaves it to the loader
        ctypes.CDLL(str(runtime), mode=ctypes.RTLD_GLOBAL)
    return str(path)
