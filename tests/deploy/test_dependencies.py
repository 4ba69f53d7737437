"""Tests that what is installed excludes published vulnerabilities: the lower bounds, and the images' lock files."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy" / "docker"
LOCKS = ("cpu", "gpu", "build")
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / "deploy" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    metadata: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return metadata


def requirements(project: dict[str, Any], *extras: str) -> list[Requirement]:
    optional = project["project"]["optional-dependencies"]
    return [Requirement(text) for text in project["project"]["dependencies"] + [t for e in extras for t in optional[e]]]


def applies(requirement: Requirement, python: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"python_version": python})


def test_lower_bounds_exclude_what_is_vulnerable(audit: ModuleType, project: dict[str, Any]) -> None:
    """No release before the fix is allowed, for any Python for which there is a fix."""
    checked = set()
    for requirement in requirements(project, "cpu", "serve", "batch", "export", "train", "eval"):
        advisory = audit.known().get(canonicalize_name(requirement.name))
        for python in PYTHONS:
            if advisory is None or not applies(requirement, python):
                continue
            if Version(python) >= Version(advisory.get("python", "3.10")):
                (bound,) = (Version(one.version) for one in requirement.specifier if one.operator == ">=")
                assert bound >= Version(advisory["fixed"]), f"{requirement} for {advisory['advisories']}"
                checked.add(requirement.name)
    assert checked >= {"starlette", "python-multipart", "h11", "pillow", "pypdfium2", "pyarrow", "certifi", "idna"}


@pytest.mark.parametrize("name", LOCKS)
def test_lock_files_are_safe_and_hashed(audit: ModuleType, name: str) -> None:
    lock = DOCKER / f"{name}.lock"
    assert list(audit.vulnerable(audit.locked(lock))) == []
    blocks = re.split(r"\n(?=\S)", lock.read_text())
    pins = [block for block in blocks if "==" in block.splitlines()[0]]
    assert len(pins) == len(audit.locked(lock)) > 3
    assert all("--hash=sha256:" in pin for pin in pins)
    # x86-64 and aarch64 take the same packages (lock.sh compares them), so that none is for one of them alone
    assert [pin for pin in pins if ";" in pin.splitlines()[0]] == []


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_lock_files_are_those_of_this_project(audit: ModuleType, project: dict[str, Any], name: str) -> None:
    pins = audit.locked(DOCKER / f"{name}.lock")
    for requirement in requirements(project, name, "serve"):
        if applies(requirement, "3.12"):
            version = pins[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version, prereleases=True), (
                f"{requirement}: run deploy/docker/lock.sh"
            )


def test_what_builds_the_wheel_is_locked(audit: ModuleType, project: dict[str, Any]) -> None:
    pins = audit.locked(DOCKER / "build.lock")
    for requirement in map(Requirement, project["build-system"]["requires"]):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


def test_the_audit_finds_an_old_package(tmp_path: Path) -> None:
    lock = tmp_path / "old.lock"
    text = (DOCKER / "cpu.lock").read_text()
    lock.write_text(re.sub(r"^starlette==[\d.]+", "starlette==1.3.0", text, flags=re.MULTILINE))
    command = [sys.executable, ROOT / "deploy" / "audit.py", lock]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert "starlette 1.3.0: " in line
    assert "fixed in 1.3.1" in line


def test_pinning_the_base_image(tmp_path: Path) -> None:
    """The registry's answer goes behind the tag, once; anything that is no digest is refused."""
    script = tmp_path / "pin.sh"
    script.write_text((DOCKER / "pin.sh").read_text())
    (tmp_path / "Dockerfile").write_text((DOCKER / "Dockerfile").read_text())
    docker = tmp_path / "docker"
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def pin(answer: str) -> int:
        docker.write_text(f'#!/bin/sh\n[ "$4" = python:3.12-slim-bookworm ] && echo {answer}\n')
        docker.chmod(0o755)
        return subprocess.run(["bash", script], env=environment, capture_output=True, check=False).returncode

    assert pin("nothing") == 1
    for digit in "ab":
        assert pin(f"sha256:{digit * 64}") == 0
        (base,) = re.findall(r"^ARG BASE=(.*)$", (tmp_path / "Dockerfile").read_text(), re.MULTILINE)
        assert base == f"python:3.12-slim-bookworm@sha256:{digit * 64}"
