"""The floors of ``engine/src``: a file includes its own floor and lower ones, and there is no circle of includes."""

from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[2] / "engine"
SOURCES = ENGINE / "src"
# The lowest first. A file may include every floor above its own line here, and files of its own floor.
FLOORS = (
    "base",
    "ort",
    "pages",
    "ops",
    "bundle",
    "backend",
    "backend/cpu",
    "backend/cuda",
    "backend/tensorrt",
    "backend/rtx",
    "core",
    "api",
)


def included(file: Path) -> list[str]:
    """Paths that ``file`` includes in quotes, as they are written: ``pages/page_pool.hpp``."""
    return [line.split('"')[1] for line in file.read_text().splitlines() if line.startswith('#include "')]


def floor(path: str) -> str:
    """Folder of a path below ``engine/src``: ``backend/cuda/cuda_feed.hpp`` is on the floor ``backend/cuda``."""
    return path.rpartition("/")[0]


@pytest.fixture(scope="module")
def graph() -> dict[str, list[str]]:
    """The files of the engine and what each includes of the engine; public headers are left out."""
    files = {path.relative_to(SOURCES).as_posix(): path for path in SOURCES.rglob("*.[ch]pp")}
    found = {}
    for name, path in files.items():
        own = [other for other in included(path) if not (ENGINE / "include" / other).is_file()]
        missing = [other for other in own if other not in files]
        assert not missing, f"{name} includes {missing}: write the path from engine/src, floor first"
        found[name] = own
    return found


def test_every_file_is_on_a_floor(graph: dict[str, list[str]]) -> None:
    assert {floor(name) for name in graph} == set(FLOORS)


def test_includes_point_down(graph: dict[str, list[str]]) -> None:
    up = [
        f"{name} includes {other}"
        for name, others in graph.items()
        for other in others
        if FLOORS.index(floor(other)) > FLOORS.index(floor(name))
    ]
    assert not up


def test_no_file_includes_itself_by_way_of_others(graph: dict[str, list[str]]) -> None:
    TopologicalSorter(graph).prepare()  # CycleError names the files of a circle


def test_public_headers_include_no_source() -> None:
    headers = {path.relative_to(ENGINE / "include").as_posix(): path for path in (ENGINE / "include").rglob("*.h*")}
    assert all(other in headers for path in headers.values() for other in included(path))
    TopologicalSorter({name: included(path) for name, path in headers.items()}).prepare()
