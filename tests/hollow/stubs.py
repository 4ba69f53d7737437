"""Compiles the stub CUDA libraries that one build of ONNX Runtime's CUDA provider asks for.

The provider's undefined symbols say which functions there must be. Those that something depends on are written by hand
(``c/``); every other one is generated: it logs its name and succeeds, and one that creates something returns a handle.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

from .wheel import Unavailable

SOURCES = Path(__file__).parent / "c"
FAKES = Path(__file__).resolve().parents[2] / "engine" / "tests" / "fakes"
DEVICE = "libhollow.so"
CUDNN = "libcudnn.so.9"
DRIVER = "libcuda.so.1"
ANY_VERSION = "libonnxruntime_any.so"
# by the start of a library's name
_WRITTEN = {
    "libcudart.": [SOURCES / "cudart.c"],
    "libcublas.": [SOURCES / "cublas.c"],
    "libcublasLt.": [SOURCES / "cublaslt.c"],
    "libcudnn.": [SOURCES / "cudnn.c"],
    "libcuda.": [FAKES / "cuda_driver.c"],
}
_SYMBOL = re.compile(r"(?:__cuda|cuda|cublas|cudnn|cufft|curand|nvrtc|cu(?=[A-Z]))\w+$")
_PREFIXES = {"cublasLt": "libcublasLt.", "cublas": "libcublas.", "cudnn": "libcudnn.", "cufft": "libcufft."}
_PREFIXES |= {"curand": "libcurand.", "nvrtc": "libnvrtc.", "cuda": "libcudart.", "__cuda": "libcudart."}
_STUB = '__attribute__((weak)) int {name}(void) {{ hollow_note("call {name}"); return 0; }}\n'
_MAKER = "__attribute__((weak)) int {name}(void** made) {{ *made = hollow_handle(); return 0; }}\n"


def build_stubs(provider: Path, out: Path, *, cudnn: bool = True) -> None:
    """Compiles into ``out`` every library that ``provider`` (libonnxruntime_providers_cuda.so) loads of CUDA.

    Args:
        provider: The provider's library.
        out: A folder; it is made where it is missing.
        cudnn: Whether there is a cuDNN where the provider opens it only when a node needs it.

    Raises:
        Unavailable: No C compiler or binutils.
    """
    for tool in ("cc", "nm", "readelf"):
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} is not installed: a hollow GPU needs a C compiler and binutils")
    out.mkdir(parents=True, exist_ok=True)
    linked = re.findall(r"\(NEEDED\).*\[(lib(?:cu|nvrtc)[^\]]*)\]", _output("readelf", "-d", str(provider)))
    functions = _functions(provider, linked)
    runtime = next(library for library in linked if library.startswith("libcudart."))
    major = runtime.rpartition(".")[2]
    _compile(out / DEVICE, [SOURCES / "device.c"], major, libraries=["-lpthread"])
    _compile(out / ANY_VERSION, [SOURCES / "onnxruntime.c"], major, libraries=["-ldl"])
    names = {*linked, DRIVER, *([CUDNN] if cudnn else [])}
    for library in sorted(names):
        stubs = out / f"{library}.c"
        lines = [(_MAKER if "Create" in name else _STUB).format(name=name) for name in sorted(functions[library])]
        stubs.write_text('#include "hollow.h"\n' + "".join(lines))
        script = out / f"{library}.map"
        script.write_text(f"{library} {{ global: *; }};\n")
        written = next((files for start, files in _WRITTEN.items() if library.startswith(start)), [])
        extra = [f"-Wl,--version-script={script}", f"-L{out}", "-lhollow", "-lm"]
        _compile(out / library, [stubs, *written], major, libraries=extra)


def _functions(provider: Path, linked: list[str]) -> dict[str, set[str]]:
    """What is asked of each library: by the linker, and of cuDNN also by name while the provider runs."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for line in _output("nm", "-D", "--undefined-only", str(provider)).splitlines():
        name, _, library = line.split()[-1].partition("@")
        if not _SYMBOL.match(name):
            continue
        if not library:
            start = next((lib for prefix, lib in _PREFIXES.items() if name.startswith(prefix)), DRIVER)
            library = next((lib for lib in linked if lib.startswith(start)), DRIVER)
        found[library.lstrip("@")].add(name)
    found[CUDNN] |= {name.decode() for name in re.findall(rb"\0(cudnn[A-Z]\w+)(?=\0)", provider.read_bytes())}
    return found


def _compile(library: Path, sources: list[Path], cuda_major: str, *, libraries: list[str]) -> None:
    command = ["cc", "-std=gnu11", "-O1", "-w", "-shared", "-fPIC", f"-I{SOURCES}", f"-DHOLLOW_CUDA_MAJOR={cuda_major}"]
    command += [*map(str, sources), f"-Wl,-soname,{library.name}", "-Wl,-rpath,$ORIGIN", "-o", str(library), *libraries]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{library.name} does not compile:\n{done.stderr}")


def _output(*command: str) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
