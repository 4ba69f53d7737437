"""docs/structure.md fits one page, and names the folders and modules that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "structure.md").read_text(encoding="utf-8")
PARENTS = (ROOT, ROOT / "python" / "ziprerank", ROOT / "kernels")  # of the modules that it names
NO_CODE = {"build", "dist", "__pycache__"}
_ROW = re.compile(r"^\| (`[^|]+`) \|", re.MULTILINE)
_NAME = re.compile(r"`([\w./-]+)`")


def folders_listed() -> list[str]:
    return [name for row in _ROW.findall(TEXT) for name in _NAME.findall(row)]


def folders_below(folder: str) -> set[str]:
    """Those that hold sources."""
    found = (path for path in (ROOT / folder).iterdir() if path.is_dir() and path.name not in NO_CODE)
    return {str(path.relative_to(ROOT)) for path in found if not path.name.startswith(".") and any(path.iterdir())}


def test_it_fits_a_page() -> None:
    assert len(TEXT.splitlines()) <= 65


def test_its_folders_exist() -> None:
    assert [name for name in folders_listed() if not (ROOT / name).is_dir()] == []


def test_its_modules_exist() -> None:
    modules = {name for name in _NAME.findall(TEXT) if name.endswith(".py")}
    assert modules
    assert [name for name in modules if not any((parent / name).is_file() for parent in PARENTS)] == []


def test_no_room_is_left_out() -> None:
    rooms = ("python/ziprerank", "engine/src", "engine/src/backend", "train", "bench")
    assert set.union(*map(folders_below, rooms)) <= set(folders_listed())
