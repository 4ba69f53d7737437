"""Finding ONNX Runtime: installed, missing, too old; and what importing the package says. Real interpreters."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
from ziprerank.runtime.onnxruntime import find_runtime, preload_cuda

INSTALL = 'install one of the two: pip install "ziprerank[cpu]" or pip install "ziprerank[gpu]"'


def python(code: str, first_on_path: Path | None = None) -> subprocess.CompletedProcess[str]:
    before = f"import sys; sys.path.insert(0, {str(first_on_path)!r})\n" if first_on_path else ""
    return subprocess.run([sys.executable, "-c", before + code], capture_output=True, text=True, check=False)


def stand_in(folder: Path, library: str | None) -> Path:
    """A package called onnxruntime with a shared library of that name."""
    capi = folder / "onnxruntime" / "capi"
    capi.mkdir(parents=True)
    (folder / "onnxruntime" / "__init__.py").touch()
    if library:
        (capi / library).touch()
    return folder


def test_the_installed_runtime() -> None:
    runtime = find_runtime()
    assert runtime.version == onnxruntime.__version__
    assert runtime.library.parent == Path(onnxruntime.__file__).parent / "capi"
    assert runtime.distributions
    ctypes.CDLL(str(runtime.library)).OrtGetApiBase  # noqa: B018


def test_finding_it_does_not_import_it() -> None:
    done = python(
        "import ziprerank.runtime.onnxruntime as r, sys; r.find_runtime(); print('onnxruntime' in sys.modules)"
    )
    assert done.stdout.strip() == "False", done.stderr


def test_without_a_runtime_the_import_says_what_to_install() -> None:
    done = python("import sys; sys.modules['onnxruntime'] = None; import ziprerank")
    assert done.returncode == 0
    assert f"RuntimeWarning: ONNX Runtime is not installed: {INSTALL}" in done.stderr


def test_without_a_runtime_the_reranker_raises() -> None:
    done = python("import sys; sys.modules['onnxruntime'] = None; from ziprerank import Reranker")
    assert done.returncode == 1
    assert done.stderr.strip().endswith(f"MissingDependency: ONNX Runtime is not installed: {INSTALL}")


def test_a_runtime_that_is_too_old(tmp_path: Path) -> None:
    folder = stand_in(tmp_path, "libonnxruntime.so.1.22.1")
    done = python("from ziprerank import Reranker", folder)
    assert done.stderr.strip().endswith(
        'MissingDependency: ONNX Runtime 1.22.1 is too old, at least 1.23 is needed: pip install -U "onnxruntime>=1.23"'
    )


def test_a_package_without_a_library(tmp_path: Path) -> None:
    done = python("import ziprerank.runtime.onnxruntime as r; r.find_runtime()", stand_in(tmp_path, None))
    assert f"carries no shared library: {INSTALL}" in done.stderr.splitlines()[-1]


def test_a_plain_import_is_light() -> None:
    heavy = "numpy", "PIL", "pypdfium2", "tokenizers", "typer", "rich"
    done = python(f"import ziprerank, sys; print([name for name in {heavy!r} if name in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_the_cuda_libraries_that_pip_brought_are_loaded_in_silence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime prints what it does not find, which would end up in the output of ``rank --json``."""
    loaded = []

    def preload() -> None:
        print("Failed to load libcublasLt.so.13")
        loaded.append(True)

    monkeypatch.setattr(onnxruntime, "preload_dlls", preload)
    preload_cuda()
    assert loaded
    assert capsys.readouterr().out == ""
