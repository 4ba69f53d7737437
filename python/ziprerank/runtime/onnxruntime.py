"""Finds the installed ONNX Runtime without importing it: the engine loads the same shared library by path."""

from __future__ import annotations

import os
import re
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

from ziprerank.errors import MissingDependency

OLDEST = (1, 23)
OLDEST_CUDA = (1, 27)
"""The first whose CUDA provider runs whole graphs on the GPU (docs/gpu.md); the engine refuses older ones."""
INSTALL = 'install one of the two: pip install "ziprerank[cpu]" or pip install "ziprerank[gpu]"'

_DISTRIBUTIONS = ("onnxruntime-gpu", "onnxruntime")
_LIBRARIES = ("libonnxruntime.so*", "libonnxruntime*.dylib", "onnxruntime.dll")


@dataclass(frozen=True, slots=True)
class Runtime:
    """One installed ONNX Runtime: its shared library, its version and the distributions that brought it."""

    library: Path
    version: str
    distributions: tuple[str, ...]

    @property
    def release(self) -> tuple[int, ...]:
        """Major and minor version; empty where the version is unknown."""
        return tuple(int(part) for part in re.findall(r"\d+", self.version)[:2])


def find_runtime() -> Runtime:
    """Finds the installed ONNX Runtime.

    Raises:
        MissingDependency: None is installed, the package has no shared library, or it is older than the engine's lowest
            API version.
    """
    try:
        spec = find_spec("onnxruntime")
    except ValueError:  # a stand-in module without a spec
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependency(f"ONNX Runtime is not installed: {INSTALL}")
    for folder in spec.submodule_search_locations:
        library = _library_in(Path(folder) / "capi")
        if library is not None:
            return _checked(library)
    places = ", ".join(spec.submodule_search_locations)
    raise MissingDependency(f"the onnxruntime package in {places} carries no shared library: {INSTALL}")


def keep_quiet() -> None:
    """Turns ONNX Runtime's telemetry off in this process, unless the variable ORT_DISABLE_TELEMETRY is set already.

    From version 1.32 on its wheels write a device id and a store of events into the user's cache folder and look up a
    host to send them to. The variable is read when the library is loaded; ``ORT_DISABLE_TELEMETRY=0`` allows it.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def preload_cuda() -> None:
    """Loads the CUDA and cuDNN libraries that pip brought with onnxruntime-gpu, which the system's loader never finds.

    A library that is missing is no error here: the provider's own error names it.
    """
    import onnxruntime

    with redirect_stdout(StringIO()):  # it prints what it does not find
        onnxruntime.preload_dlls()


def _library_in(folder: Path) -> Path | None:
    for pattern in _LIBRARIES:
        found = sorted(folder.glob(pattern))
        if found:
            return found[0]
    return None


def _checked(library: Path) -> Runtime:
    installed = {name: _version_of(name) for name in _DISTRIBUTIONS}
    names = tuple(name for name, version in installed.items() if version is not None)
    in_name = re.search(r"\d+\.\d+\.\d+", library.name)  # the file's own name tells the truth when two wheels overlap
    version = in_name.group() if in_name else next((v for v in installed.values() if v is not None), "unknown")
    runtime = Runtime(library=library, version=version, distributions=names)
    if len(runtime.release) == 2 and runtime.release < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        package = names[0] if names else "onnxruntime"
        raise MissingDependency(
            f'ONNX Runtime {version} is too old, at least {wanted} is needed: pip install -U "{package}>={wanted}"'
        )
    return runtime


def _version_of(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
