"""An evaluation within a budget: each query is ranked at the keep ratio that its budget leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from slow_reranker import HUGE, slow_reranker
from typer.testing import CliRunner
from ziprerank.cli.app import app
from ziprerank.errors import InvalidInput
from ziprerank.evaluation.systems import Engine
from ziprerank.reranker import Reranker

SAMPLE = Path(__file__).parents[2] / "python" / "examples" / "sample.pdf"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A question about 3 pages, and one about all 18."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.pdf").write_bytes(SAMPLE.read_bytes())
    asked = {"query": "dividend of the board", "document": "a.pdf", "page": 4}
    rows = [{"id": "few", "candidates": [4, 5, 6], **asked}, {"id": "all", **asked}]
    (folder / "queries.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture
def slow(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Reranker:
    """What the command loads."""
    reranker = slow_reranker(bundle)
    monkeypatch.setattr(Reranker, "from_options", lambda _: reranker)
    return reranker


def evaluated(data: Path, out: Path, bundle: Path, *options: object) -> dict[str, dict[str, Any]]:
    """The system's part of each row, by the query's id."""
    done = CliRunner().invoke(app, ["eval", *map(str, (data, out, "--bundle", bundle, *options))])
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in (out / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    return {row["id"]: {"system": name, **ranked} for row in rows for name, ranked in row["systems"].items()}


@pytest.mark.usefixtures("slow")
def test_a_budget_lowers_what_is_read_of_each_query(data: Path, bundle: Path, tmp_path: Path) -> None:
    usual = evaluated(data, tmp_path / "usual", bundle)
    least = evaluated(data, tmp_path / "least", bundle, "--keep-ratio", 0.1)
    tokens = {name: row["tokens"]["text"] + row["tokens"]["kept"] for name, row in usual.items()}
    assert tokens["few"] < tokens["all"]
    budget = (tokens["few"] + 1) * HUGE  # enough for 3 pages, and for 18 in no way
    lowered = evaluated(data, tmp_path / "budget", bundle, "--budget-ms", budget)
    assert {row["system"] for row in lowered.values()} == {f"ziprerank-budget-{budget:g}"}
    assert [rows["all"]["keep_ratio"] for rows in (usual, least, lowered)] == [0.5, 0.1, 0.1]
    assert lowered["few"]["keep_ratio"] == 0.5
    assert lowered["few"]["tokens"] == usual["few"]["tokens"]
    assert lowered["all"]["tokens"] == least["all"]["tokens"]
    assert least["all"]["tokens"]["kept"] < usual["all"]["tokens"]["kept"]
    assert len(lowered["all"]["order"]) == 18
    settings = json.loads((tmp_path / "budget" / "job.json").read_text())["systems"]
    assert [one["budget_ms"] for one in settings.values()] == [budget]


def test_a_budget_is_not_given_beside_keep_ratios(slow: Reranker) -> None:
    with pytest.raises(InvalidInput, match="leave the keep ratios out"):
        Engine(slow, [0.5], budget_ms=100.0)
