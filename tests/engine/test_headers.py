"""The copy of ONNX Runtime's headers in ``third_party/onnxruntime``, and how a build takes others."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from engine_helpers import ROOT

HEADERS = ROOT / "third_party" / "onnxruntime"


def configure(*definitions: str) -> subprocess.CompletedProcess[str]:
    """Runs the script that finds the headers by itself, outside a project."""
    script = ROOT / "cmake" / "OnnxRuntimeHeaders.cmake"
    return subprocess.run(
        ["cmake", f"-DPROJECT_SOURCE_DIR={ROOT}", *definitions, "-P", script],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_copy_is_unchanged_and_self_contained() -> None:
    sums = dict(reversed(line.split()) for line in (HEADERS / "SHA256SUMS").read_text().splitlines())
    files = {path.name: path for path in HEADERS.glob("*.h")}
    assert sums == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    for path in files.values():
        included = re.findall(r'^#include "(\w+\.h)"', path.read_text(), re.MULTILINE)
        assert set(included) <= set(files), f"{path.name} includes a header that is not in the copy"
    assert "MIT License" in (HEADERS / "LICENSE").read_text()


def test_the_readme_names_the_version() -> None:
    found = re.search(r"^#define ORT_API_VERSION (\d+)", (HEADERS / "onnxruntime_c_api.h").read_text(), re.MULTILINE)
    assert found is not None
    assert f"ONNX Runtime 1.{found[1]} (`ORT_API_VERSION` {found[1]})" in (HEADERS / "README.md").read_text()


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs CMake")
def test_a_build_may_name_other_headers(tmp_path: Path) -> None:
    assert f"ONNX Runtime headers: {HEADERS}" in configure().stdout
    other = Path(shutil.copytree(HEADERS, tmp_path / "other"))
    assert f"ONNX Runtime headers: {other}" in configure(f"-DONNXRUNTIME_INCLUDE_DIR={other}").stdout


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs CMake")
@pytest.mark.parametrize(("api", "found"), [(None, "found 0"), (22, "found 22")])
def test_headers_that_do_not_fit_are_refused(tmp_path: Path, api: int | None, found: str) -> None:
    if api is not None:
        (tmp_path / "onnxruntime_cxx_api.h").touch()
        (tmp_path / "onnxruntime_c_api.h").write_text(f"#define ORT_API_VERSION {api}\n")
    done = configure(f"-DONNXRUNTIME_INCLUDE_DIR={tmp_path}")
    assert done.returncode != 0
    message = " ".join(done.stderr.split())
    assert "no ONNX Runtime headers of API 23 or newer" in message
    assert found in message
    assert "give the folder of onnxruntime_cxx_api.h, 1.23 or newer" in message
