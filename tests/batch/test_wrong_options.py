"""Options that no row can be ranked with are refused before a row is ranked, or a folder made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from batch_job import Job
from typer.testing import CliRunner
from ziprerank.batch.job import job_of
from ziprerank.batch.ranking import Ranker
from ziprerank.cli.app import app
from ziprerank.errors import InvalidInput
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineOptions

WRONG: list[dict[str, Any]] = [
    {"top_k": 0},
    {"top_k": 1.5},
    {"keep_ratio": 2},
    {"keep_ratio": float("nan")},
    {"window": 50},
    {"window": "x"},
    {"stride": 0},
    {"window": 4, "stride": 4},
    {"on_bad_page": "x"},
    {"strategy": "partition", "stride": 5},
]


@pytest.mark.parametrize("options", WRONG, ids=str)
def test_they_are_refused_as_the_library_refuses_them(job: Job, reranker: Reranker, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as told:
        reranker.rank("a", job.documents[2], **options)
    with pytest.raises(InvalidInput) as refused:
        Ranker(**options)
    assert str(refused.value) == str(told.value)


def test_the_command_makes_no_folder(job: Job, bundle_path: Path, tmp_path: Path) -> None:
    command = ["batch", *map(str, (job.table, tmp_path / "out", "--bundle", bundle_path, "--top-k", 0))]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert "top_k 0: must be a whole number of at least 1" in done.output
    assert not (tmp_path / "out").exists()


def test_what_needs_the_bundle_is_refused_with_it(bundle_path: Path, tmp_path: Path) -> None:
    narrow = tmp_path / "bundle"
    shutil.copytree(bundle_path, narrow)
    manifest = json.loads((narrow / "ziprerank.json").read_text(encoding="utf-8"))
    manifest["defaults"] |= {"window": 4, "stride": 2}
    (narrow / "ziprerank.json").write_text(json.dumps(manifest), encoding="utf-8")
    engine = EngineOptions(narrow, threads=1)
    job_of(Ranker(engine, stride=3))
    for options, told in (({"stride": 4}, "less than the window of 4 pages"), ({"instruction": "x"}, "has no place")):
        ranker = Ranker(engine, **options)  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match=told):
            job_of(ranker)
        with pytest.raises(InvalidInput, match=told):
            ranker.load()


def test_a_first_stage_that_the_bundle_lacks_is_refused_when_it_is_loaded(bundle_path: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(bundle_path, tmp_path / "bundle"))
    (old / "relate.onnx").unlink()
    manifest = json.loads((old / "ziprerank.json").read_text(encoding="utf-8"))
    del manifest["files"]["relate.onnx"]
    (old / "ziprerank.json").write_text(json.dumps(manifest), encoding="utf-8")
    engine = EngineOptions(old, threads=1)
    with pytest.raises(InvalidInput, match=r"first_stage 'relevance': this bundle has no relate\.onnx"):
        Ranker(engine, first_stage="relevance").load()
    Ranker(engine, first_stage="text").load().close()


@pytest.mark.parametrize(
    "options", [{"window": "off", "stride": 12}, {"window": 1}, {"top_k": 3, "stride": 1}], ids=str
)
def test_options_that_some_rows_can_be_ranked_with_are_taken(bundle_path: Path, options: dict[str, Any]) -> None:
    job_of(Ranker(EngineOptions(bundle_path), **options))
