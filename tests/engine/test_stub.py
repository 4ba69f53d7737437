"""``_engine.pyi`` is what nanobind's stub generator makes of the built module."""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path

import pytest
from engine_helpers import ROOT, run

pytest.importorskip("nanobind")

STUB = ROOT / "python" / "ziprerank" / "_engine.pyi"
PATTERNS = ROOT / "python" / "engine_stub.pat"
GENERATE = ("-m", "nanobind.stubgen", "-m", "ziprerank._engine", "-p", str(PATTERNS), "-o")


def declarations(stub: Path) -> list[str]:
    """The syntax trees of a stub's declarations, docstrings dedented; the order of its imports does not matter."""
    tree = ast.parse(stub.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = inspect.cleandoc(node.value)
    imports = [ast.dump(node) for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    others = [ast.dump(node) for node in tree.body if not isinstance(node, (ast.Import, ast.ImportFrom))]
    return sorted(imports) + others


def test_the_stub_is_what_the_generator_makes(tmp_path: Path) -> None:
    made = tmp_path / "_engine.pyi"
    run(sys.executable, *GENERATE, made)
    command = f"python {' '.join(GENERATE)} {STUB} && ruff format {STUB}"
    assert declarations(made) == declarations(STUB), f"bindings.cpp has changed; make the stub again: {command}"


def test_every_declaration_has_a_docstring() -> None:
    tree = ast.parse(STUB.read_text())
    bare = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not ast.get_docstring(node)
    ]
    assert not bare
