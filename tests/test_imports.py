"""The imports of the whole package, read from its sources: no circles, and rooms depend on each other one way.

Imports inside functions and under ``TYPE_CHECKING`` count like all others: a reader follows those too.
"""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "ziprerank": ROOT / "python/ziprerank",
    **{f"ziprerank.{room}": ROOT / room for room in ("export", "kernels", "train")},
    "ziprerank.comparison": ROOT / "bench" / "comparison",
    "bench": ROOT / "bench",
}
# What is read from outside is checked by the same rules everywhere.
SHARED = {"ziprerank.errors", "ziprerank.strict_json", "ziprerank.manifest", "ziprerank.tokenizer_file"}
# docs/structure.md, "Imports point one way": the rooms that a room may import besides itself and `SHARED`.
# "python" is the package itself, without those of its rooms that are named here.
MAY_IMPORT = {
    "kernels": set(),
    "export": {"kernels"},
    "train": {"python", "export", "kernels"},
    "python": set(),
    "integrations": {"python"},
    "scale": {"python", "export"},
    "comparison": {"python", "export", "kernels", "train"},
    "cli": {"python", "scale", "export", "kernels", "train", "comparison"},
    "bench": {"python", "cli", "export", "kernels", "train", "comparison"},
}

Graph = Mapping[str, set[str]]


def modules(folders: Mapping[str, Path]) -> dict[str, Path]:
    """Every module's file by its full name: of a package its ``__init__.py``, of a compiled module its stub."""
    found = {}
    for package, folder in folders.items():
        inner = [other for other in folders.values() if other != folder and other.is_relative_to(folder)]
        for file in sorted([*folder.rglob("*.py"), *folder.rglob("*.pyi")]):
            if any(file.is_relative_to(other) for other in inner):
                continue  # a package of its own
            parts = [package, *file.relative_to(folder).with_suffix("").parts]
            found[".".join(parts).removesuffix(".__init__")] = file
    return found


def imports(module: str, file: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """The modules of ``known`` that a file imports, wherever the statement is."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                folder = package.rsplit(".", node.level - 1)[0]
                base = f"{folder}.{base}".removesuffix(".")
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            # the longest part that is a module: "a.b.Name" is in a.b, and "numpy.x" in none that is known
            parts = name.split(".")
            candidates = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
            if (target := next((one for one in candidates if one in known), None)) is not None:
                yield target


def leaving(file: Path) -> Iterator[str]:
    """The relative imports of a file that leave its folder, ``from ..x import y``."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.ImportFrom) and node.level > 1:
            yield f"{file}:{node.lineno}"


def import_graph(folders: Mapping[str, Path]) -> Graph:
    known = modules(folders)
    return {module: set(imports(module, file, known)) - {module} for module, file in known.items()}


def circles(graph: Graph) -> list[list[str]]:
    """The shortest circle through each module that is on one, each circle once; its first module ends it too."""
    found: dict[frozenset[str], list[str]] = {}
    for start in sorted(graph):
        before: dict[str, str] = {}
        waiting = deque([start])
        while waiting and start not in before:
            module = waiting.popleft()
            for target in sorted(graph[module]):
                if target not in before:
                    before[target] = module
                    waiting.append(target)
        if start in before:
            path = [start]
            while before[path[-1]] != start:
                path.append(before[path[-1]])
            found.setdefault(frozenset(path), [start, *reversed(path)])
    return list(found.values())


def room(module: str) -> str:
    """The room that a module is in, by the names of `MAY_IMPORT`."""
    parts = module.split(".")
    if parts[0] in MAY_IMPORT:
        return parts[0]
    return parts[1] if len(parts) > 1 and parts[1] in MAY_IMPORT else "python"


@pytest.fixture(scope="module")
def graph() -> Graph:
    return import_graph(FOLDERS)


def test_there_are_no_circles(graph: Graph) -> None:
    assert [" -> ".join(circle) for circle in circles(graph)] == []


def test_no_import_leaves_its_folder_by_dots() -> None:
    """A module of another folder is imported by its full name."""
    assert [place for file in modules(FOLDERS).values() for place in leaving(file)] == []


def test_rooms_depend_on_each_other_one_way(graph: Graph) -> None:
    wrong = [
        f"{module} imports {target}"
        for module, targets in sorted(graph.items())
        for target in sorted(targets)
        if target not in SHARED and room(target) not in {room(module), *MAY_IMPORT[room(module)]}
    ]
    assert wrong == []


def test_every_kind_of_import_is_read(tmp_path: Path) -> None:
    """A circle through each way to write an import, and one that is none."""
    sources = {
        "__init__": "",
        "a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .b import B\n",
        "b": "def f():\n    import toy.c as c\n",
        "c": "from toy import a\n",
        "d": "from . import a, b\nfrom .inner import e\n",
        "inner/__init__": "",
        "inner/e": "from ..c import something\n",
    }
    for name, source in sources.items():
        file = tmp_path / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(source)
    graph = import_graph({"toy": tmp_path})
    assert graph["toy.d"] == {"toy.a", "toy.b", "toy.inner.e"}
    assert graph["toy.inner.e"] == {"toy.c"}
    assert circles(graph) == [["toy.a", "toy.b", "toy.c", "toy.a"]]
    assert len(list(leaving(tmp_path / "inner/e.py"))) == 1
