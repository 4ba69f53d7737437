"""The README's tables are those of the committed results."""

from __future__ import annotations

from pathlib import Path

from bench.report import with_tables

ROOT = Path(__file__).parents[2]


def test_the_readme_shows_the_committed_results() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_tables(readme) == readme
