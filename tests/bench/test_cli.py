"""``ziprerank bench`` rejects bad input with one line that says the way out."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner
from ziprerank.bundle import default_bundle
from ziprerank.cli import bench as cli_bench
from ziprerank.cli.app import app


def refusal(*options: str) -> str:
    result = CliRunner().invoke(app, ["bench", *options])
    assert result.exit_code == 1, result.output
    return result.stderr


def test_more_candidates_than_the_pdf_has_pages(tmp_path: Path) -> None:
    said = refusal(str(tmp_path / "rows.jsonl"), "--candidates", "1000")
    assert "has 18 pages, candidates are [1000]: choose 1..18" in said


def test_two_bundles_of_one_precision(tmp_path: Path) -> None:
    bundle = str(default_bundle())
    said = refusal(str(tmp_path / "rows.jsonl"), "--quick", "--bundle", bundle, "--bundle", bundle)
    assert "are both fp32: give one of each precision" in said


def test_outside_a_clone_pages_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_bench, "__file__", str(tmp_path / "a" / "b" / "cli_bench.py"))
    assert "this is no clone, so give --pdf" in refusal(str(tmp_path / "rows.jsonl"))
