"""Tests of the Dockerfile that need no Docker daemon: it passes the linter and names only files that exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"


def lint(text: str) -> subprocess.CompletedProcess[str]:
    hadolint = shutil.which("hadolint", path=f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}")
    assert hadolint is not None
    return subprocess.run([hadolint, "-"], input=text, capture_output=True, text=True, check=False)


def test_hadolint_finds_nothing() -> None:
    done = lint(DOCKERFILE.read_text())
    assert (done.returncode, done.stdout) == (0, "")
    assert lint("FROM debian\nRUN cd /tmp && sudo ls\n").returncode == 1


def test_the_build_has_all_sources() -> None:
    """The ignore file lets through exactly what the wheel is built from."""
    allowed = {
        line[1:] for line in DOCKERFILE.with_suffix(".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    named = set(re.findall(r'"ziprerank[\w/]*" = "(\w+)', (ROOT / "pyproject.toml").read_text()))
    for_the_build = {
        "CMakeLists.txt",
        "cmake",
        "deploy/docker/*.lock",
        "deploy/docker/health.py",
        "engine",
        "third_party",
    }
    assert named | for_the_build | {"pyproject.toml", "README.md", "LICENSE"} == allowed
    assert all(list(ROOT.glob(name)) for name in allowed)


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_images_run_as_nobody_and_have_a_runtime(target: str) -> None:
    stage = re.search(rf"FROM base AS {target}\n(.*?)(?=\nFROM|\Z)", DOCKERFILE.read_text(), re.DOTALL)
    assert stage is not None
    assert stage[1].rstrip().endswith("USER 10001:10001")
    assert f"--require-hashes -r /locks/{target}.lock" in stage[1]
    assert "--no-deps /wheels/*.whl" in stage[1]
    lock = (ROOT / "deploy" / "docker" / f"{target}.lock").read_text()
    assert re.search(rf"^onnxruntime{'-gpu' if target == 'gpu' else ''}==", lock, re.MULTILINE)
    assert re.search(r"^uvicorn==", lock, re.MULTILINE)


def test_images_have_fonts_and_no_telemetry() -> None:
    base = DOCKERFILE.read_text().split("AS base")[1].split("\nFROM ")[0]
    assert {"fonts-dejavu-core", "fonts-wqy-zenhei"} <= set(base.split())
    assert "ORT_DISABLE_TELEMETRY=1" in base.split()


def test_yaml() -> None:
    chart = ROOT / "deploy" / "helm" / "ziprerank"
    rules = "{extends: default, rules: {line-length: {max: 140}, document-start: disable, comments: {level: error}}}"
    files = [chart / "Chart.yaml", chart / "values.yaml"]
    done = subprocess.run(
        [sys.executable, "-m", "yamllint", "--strict", "-d", rules, *files], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
