"""The version is written in several files, which must agree."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import ziprerank

ROOT = Path(__file__).parents[2]


def test_the_version_is_the_same_everywhere() -> None:
    in_cmake = re.search(r"project\(ziprerank VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())
    assert in_cmake is not None
    assert metadata.version("ziprerank") == ziprerank.__version__ == in_cmake.group(1)
