"""The README's tables are those of the committed results."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_readme_shows_the_committed_results() -> None:
    with_tables = runpy.run_path(str(ROOT / "bench" / "report.py"))["with_tables"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_tables(readme) == readme
