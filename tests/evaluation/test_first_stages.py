"""The engine's first stages in an evaluation: each is a system, ranks as the library does, and belongs to the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pdf_files import words_pdf
from small_bundle import copy_default_bundle
from typer.testing import CliRunner
from ziprerank.cli.app import app
from ziprerank.errors import InvalidInput
from ziprerank.evaluation.systems import Engine
from ziprerank.reranker import Reranker

PAGES = 24
QUERIES = {"near": ("subject3 of the manual", 3), "far": ("about subject22", 22)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manual whose pages have text, more than a pass takes, and two questions about it."""
    folder = tmp_path_factory.mktemp("stages") / "data"
    folder.mkdir()
    (folder / "a.pdf").write_bytes(words_pdf((f"about subject{page} and more" for page in range(PAGES)), (200, 260)))
    rows = [{"id": name, "query": query, "document": "a.pdf", "page": page} for name, (query, page) in QUERIES.items()]
    (folder / "queries.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def reranker(bundle: Path) -> Reranker:
    return Reranker.from_bundle(bundle, threads=1)


def run(*options: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["eval", *map(str, options)])
    return done.exit_code, " ".join(done.output.split())


def test_each_first_stage_is_a_system_that_ranks_as_the_library(
    data: Path, bundle: Path, reranker: Reranker, tmp_path: Path
) -> None:
    stages = ("none", "text", "relevance")
    flags = [part for stage in stages for part in ("--engine-first-stage", stage)]
    options = [*flags, "--candidates", 7, "--keep-ratio", 0.5, "--keep-ratio", 0.25]
    code, told = run(data, tmp_path / "out", "--bundle", bundle, "--threads", 1, *options)
    assert code == 0, told
    rows = [json.loads(line) for line in (tmp_path / "out" / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    names = [f"ziprerank{'' if stage == 'none' else '-' + stage}" for stage in stages]
    assert [list(row["systems"]) for row in rows] == [
        [f"{name}-keep-{ratio:g}" for name in names for ratio in (0.5, 0.25)]
    ] * len(QUERIES)
    for row in rows:
        for stage, name in zip(stages, names, strict=True):
            for ratio in (0.5, 0.25):
                picked: dict[str, Any] = {} if stage == "none" else {"candidates": 7}
                wanted = reranker.rank(row["query"], data / "a.pdf", first_stage=stage, keep_ratio=ratio, **picked)
                found = row["systems"][f"{name}-keep-{ratio:g}"]
                assert found["fault"] is None
                assert found["order"] == [page.index for page in wanted]
                assert sorted(found["order"]) == list(range(PAGES))
                assert (found["first_stage"], found["pages_read"]) == (stage, PAGES if stage == "none" else 7)
                assert found["tokens"]["passes"] == wanted.windows


def test_a_run_with_another_first_stage_is_not_continued(data: Path, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    common = [data, out, "--bundle", bundle, "--threads", 1]
    text = [*common, "--engine-first-stage", "text", "--candidates"]
    code, told = run(*text, 7)
    assert code == 0, told
    assert run(*text, 7)[0] == 0
    written = (out / "queries.jsonl").read_bytes()
    for other in (
        [*text, 8],
        [*common, "--engine-first-stage", "text"],
        [*common, "--engine-first-stage", "auto"],
        common,
    ):
        code, told = run(*other)
        assert code == 1
        assert "holds rows of another run" in told
    assert (out / "queries.jsonl").read_bytes() == written
    job = json.loads((out / "job.json").read_text())["systems"]["ziprerank-text-keep-0.5"]
    assert (job["first_stage"], job["candidates"]) == ("text", 7)


def test_without_a_first_stage_a_run_is_the_one_that_it_was(reranker: Reranker) -> None:
    """A folder that was begun before there were first stages is continued."""
    settings = Engine(reranker).settings()
    assert not {"first_stage", "candidates"} & set(settings)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--engine-first-stage", "best"], "first_stage 'best': must be 'auto', 'text', 'relevance' or 'none'"),
        (["--engine-first-stage", "text", "--candidates", 0], "candidates 0: must be a whole number of at least 1"),
        (["--candidates", 7], "candidates 7: the model reads every candidate of the data"),
        (["--engine-first-stage", "none", "--candidates", 7], "give --engine-first-stage too"),
        (
            ["--no-engine", "--baseline", "text", "--engine-first-stage", "text"],
            "--engine-first-stage beside --no-engine",
        ),
        (["--no-engine", "--baseline", "text", "--window", 7, "--keep-ratio", 1], "--keep-ratio, --window beside"),
    ],
    ids=str,
)
def test_options_without_an_effect_are_refused_at_once(
    data: Path, bundle: Path, tmp_path: Path, flags: list[object], told: str
) -> None:
    code, said = run(data, tmp_path / "out", "--bundle", bundle, *flags)
    assert code == 1
    assert told in said
    assert not (tmp_path / "out").exists()


def test_a_bundle_that_does_not_relate_is_refused_before_the_first_query(tmp_path: Path) -> None:
    """Which else would count every query as a miss."""
    bundle = copy_default_bundle(tmp_path / "small", 192, min_pixels=1024, dpi=None)
    manifest = json.loads((bundle / "ziprerank.json").read_text())
    (bundle / "relate.onnx").unlink()
    del manifest["files"]["relate.onnx"]
    (bundle / "ziprerank.json").write_text(json.dumps(manifest))
    with Reranker.from_bundle(bundle, threads=1) as without:
        assert not without.engine.info.get("relates")
        with pytest.raises(InvalidInput, match=r"first_stage 'relevance': this bundle has no relate\.onnx"):
            Engine(without, first_stage="relevance")
