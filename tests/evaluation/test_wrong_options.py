"""Options that no query can be ranked with end ``ziprerank eval`` before it makes its folder; none counts as a miss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from eval_data import page_image
from typer.testing import CliRunner
from ziprerank.cli.app import app
from ziprerank.errors import InvalidInput
from ziprerank.evaluation.systems import Engine
from ziprerank.reranker import Reranker


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wrong") / "data"
    (folder / "documents").mkdir(parents=True)
    for name in ("a", "b", "c"):
        (folder / "documents" / f"{name}.jpg").write_bytes(page_image(f"the board {name}"))
    (folder / "queries.tsv").write_text("q1\tthe board\n", encoding="utf-8")
    (folder / "qrels.txt").write_text("q1 0 a 1\n", encoding="utf-8")
    (folder / "run.trec").write_text("q1 Q0 a 1 3 x\nq1 Q0 b 2 2 x\nq1 Q0 c 3 1 x\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def reranker(bundle: Path) -> Reranker:
    return Reranker.from_bundle(bundle, threads=1)


WRONG = [
    {"keep_ratio": 2.0},
    {"keep_ratio": 0.0},
    {"window": 50},
    {"window": 0},
    {"stride": 0},
    {"stride": 20},
    {"window": 4, "stride": 4},
    {"strategy": "partition", "stride": 5},
    {"budget_ms": -1.0},
]


@pytest.mark.parametrize("options", WRONG, ids=str)
def test_the_command_refuses_them_as_the_library_does(
    data: Path, bundle: Path, reranker: Reranker, tmp_path: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput) as told:
        reranker.rank("the board", [data / "documents" / f"{name}.jpg" for name in "abc"], **options)
    flags = [str(part) for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    command = ["eval", *map(str, (data, tmp_path / "out", "--bundle", bundle)), *flags]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1, done.output
    assert str(told.value) in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options",
    [{"keep_ratios": [0.5, float("nan")]}, {"on_bad_page": "x"}, {"strategy": "x"}, {"window": "x"}, {"window": True}],
    ids=str,
)
def test_the_system_refuses_them(reranker: Reranker, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Engine(reranker, **options)


@pytest.mark.parametrize(
    "options", [{"window": "off", "stride": 12}, {"window": 1}, {"window": 20, "stride": 19}], ids=str
)
def test_options_that_some_queries_can_be_ranked_with_are_taken(reranker: Reranker, options: dict[str, Any]) -> None:
    Engine(reranker, **options)


def test_the_last_line_counts_what_single_systems_could_not_rank(data: Path, bundle: Path, tmp_path: Path) -> None:
    command = ["eval", *map(str, (data, tmp_path / "out", "--bundle", bundle, "--window", 1))]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "1 queries, 0 of them could not be ranked; 1 could not be ranked by ziprerank-keep-0.5" in said
