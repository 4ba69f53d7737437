"""The wheel's files: the library, and nothing that only tests or the project's own measurements use."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest
from scikit_build_core.build import build_wheel

ROOT = Path(__file__).parents[2]
SOURCES = {  # folder of the wheel: folder of the clone
    "ziprerank/export": "export",
    "ziprerank/kernels": "kernels",
    "ziprerank/train": "train",
    "ziprerank/comparison": "bench/comparison",
    "ziprerank": "python/ziprerank",
}
COMPILED = "ziprerank._engine"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """The wheel by the project's build backend, without what CMake compiles."""
    folder = tmp_path_factory.mktemp("wheel")
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        name = build_wheel(
            str(folder), {"wheel.cmake": "false", "wheel.py-api": "", "build-dir": str(folder / "build")}
        )
    finally:
        os.chdir(before)
    return ZipFile(folder / name)


@pytest.fixture(scope="module")
def modules(wheel: ZipFile) -> dict[str, ast.Module]:
    """Every Python module of the wheel by its full name, parsed."""
    files = [PurePosixPath(name) for name in wheel.namelist() if name.endswith(".py")]
    return {module_name(file): ast.parse(wheel.read(str(file))) for file in files}


def module_name(file: PurePosixPath) -> str:
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(name: str, tree: ast.Module, packages: set[str]) -> Iterator[str]:
    """Full names of the modules that a module imports from, in functions and for type checking too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = name.split(".") if name in packages else name.split(".")[:-1]
            base = parts[: len(parts) - node.level + 1] if node.level else []
            yield ".".join([*base, *([node.module] if node.module else [])])


def test_every_file_is_one_of_the_packages(wheel: ZipFile) -> None:
    for name in wheel.namelist():
        if ".dist-info/" in name:
            continue
        folder = next(folder for folder in SOURCES if name.startswith(f"{folder}/"))
        assert (ROOT / SOURCES[folder] / name.removeprefix(f"{folder}/")).is_file(), name


def test_the_comparison_is_there_and_the_measurements_are_not(wheel: ZipFile) -> None:
    found = {name.removeprefix("ziprerank/comparison/") for name in wheel.namelist() if "/comparison/" in name}
    assert found == {file.name for file in (ROOT / "bench" / "comparison").glob("*.py")}
    measurements = {f"bench.{file.stem}" for file in (ROOT / "bench").glob("*.py")}
    assert {"bench.report", "bench.serve"} <= measurements  # they are in the clone
    assert not [name for name in wheel.namelist() if name.startswith(("bench/", "tests/")) or name.endswith(".jsonl")]


def test_no_module_imports_tests_or_measurements(modules: dict[str, ast.Module]) -> None:
    packages = {name for name in modules if any(other.startswith(f"{name}.") for other in modules)}
    for name, tree in modules.items():
        for imported in imports(name, tree, packages):
            top = imported.partition(".")[0]
            if top == "ziprerank":
                assert imported in {*modules, COMPILED}, f"{name} imports {imported}, which is not in the wheel"
            else:
                assert top != "pytest", f"{name} imports pytest"
                assert not (ROOT / top).is_dir(), f"{name} imports {imported} from the clone"
