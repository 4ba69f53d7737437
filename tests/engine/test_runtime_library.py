"""Which ONNX Runtime the engine accepts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from engine_helpers import run
from ziprerank import _engine
from ziprerank.errors import InvalidInput, ProviderError

OLD_RUNTIME = """
static const void* GetApi(unsigned version) { return version > 17 ? 0 : (const void*)"api"; }
static const char* GetVersionString(void) { return "1.17.3"; }
static const struct {
  const void* (*GetApi)(unsigned);
  const char* (*GetVersionString)(void);
} base = {GetApi, GetVersionString};
const void* OrtGetApiBase(void) { return &base; }
"""


def compile_library(folder: Path, source: str) -> Path:
    (folder / "source.c").write_text(source)
    run("cc", "-shared", "-fPIC", "-o", folder / "library.so", folder / "source.c")
    return folder / "library.so"


def test_too_old(default_bundle: Path, tmp_path: Path) -> None:
    library = compile_library(tmp_path, OLD_RUNTIME)
    with pytest.raises(ProviderError, match=r"Runtime 1\.17\.3 \(.*library\.so\) is too old: needs 1\.23 or newer"):
        _engine.Engine(str(default_bundle), str(library))


def test_missing(default_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match=r"ONNX Runtime cannot be loaded .*nothing\.so"):
        _engine.Engine(str(default_bundle), str(tmp_path / "nothing.so"))
    with pytest.raises(ProviderError, match="runtime_library is empty"):
        _engine.Engine(str(default_bundle), "")


def test_another_library(default_bundle: Path, tmp_path: Path) -> None:
    library = compile_library(tmp_path, "int answer(void) { return 42; }")
    with pytest.raises(ProviderError, match="is no ONNX Runtime: it has no OrtGetApiBase"):
        _engine.Engine(str(default_bundle), str(library))


@pytest.mark.usefixtures("engine")
def test_one_library_a_process(default_bundle: Path, runtime_library: str, tmp_path: Path) -> None:
    copy = shutil.copy(runtime_library, tmp_path / "libonnxruntime.so")
    with pytest.raises(ProviderError, match=r"this process runs ONNX Runtime .* use one library per process"):
        _engine.Engine(str(default_bundle), str(copy))


def test_threads(default_bundle: Path, runtime_library: str) -> None:
    with pytest.raises(InvalidInput, match="threads is -1: give 0"):
        _engine.Engine(str(default_bundle), runtime_library, threads=-1)
    assert _engine.Engine(str(default_bundle), runtime_library, threads=1).info["threads"] == 1
