"""The commands on a bundle that scores each page by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eval_data import page_image, write_vidore
from PIL import Image
from typer.testing import CliRunner
from ziprerank import Pdf, Reranker
from ziprerank.cli.app import app

QUERY = "dividend shareholders board directors"
INSTRUCTION = "Find pages that state an amount."


@pytest.fixture(scope="module")
def library(yes_no_bundle: Path) -> Reranker:
    return Reranker.from_bundle(yes_no_bundle, check="size", threads=1)


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return done.output


def by_page(ranking: Any) -> dict[int | None, float]:
    return {page.page: page.score for page in ranking}


@pytest.mark.parametrize("instruction", [None, INSTRUCTION])
def test_rank(yes_no_bundle: Path, library: Reranker, sample: Path, instruction: str | None) -> None:
    given = [] if instruction is None else ["--instruction", instruction]
    out = json.loads(run("rank", QUERY, sample, "--pages", "2,5,16", "--bundle", yes_no_bundle, "--json", *given))
    wanted = by_page(library.rank(QUERY, Pdf(sample, "2,5,16"), instruction=instruction))
    assert len(set(wanted.values())) == 3
    assert {page["page"]: page["score"] for page in out["results"]} == pytest.approx(wanted, rel=1e-6)


def test_explain_draws_the_kept_tokens(yes_no_bundle: Path, sample: Path, tmp_path: Path) -> None:
    picture = tmp_path / "kept.png"
    given = ["--pages", "2,5", "--bundle", yes_no_bundle, "--instruction", INSTRUCTION, "-o", picture]
    run("explain", QUERY, sample, *given, "--keep-ratio", 0.5)
    half = picture.read_bytes()
    run("explain", QUERY, sample, *given)  # every token is kept by default
    assert picture.read_bytes() != half
    assert min(Image.open(picture).size) > 100


def test_profile_has_a_pass_for_each_page(yes_no_bundle: Path, sample: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    given = ["--pages", "2,5,16", "--bundle", yes_no_bundle, "--instruction", INSTRUCTION, "--threads", 1]
    run("profile", sample, "--query", QUERY, "-o", trace, "--runs", 1, *given)
    events = [event for event in json.loads(trace.read_text())["traceEvents"] if event["ph"] == "X"]
    (ranking,) = (event for event in events if event["name"] == "rank 1")
    after = [event for event in events if event["ts"] >= ranking["ts"]]
    assert sum(event["name"] == "rerank.onnx" for event in after) == 3
    assert sum(event["name"] == "vision.onnx" for event in after) == 3


def test_eval_ranks_by_log_odds(yes_no_bundle: Path, library: Reranker, tmp_path: Path) -> None:
    pages = {f"p{number}": page_image(word) for number, word in enumerate(("whale", "bird", "share", "stone"))}
    queries = [("q", "where is the whale?", "en")]
    found = {"hyphens": True, "top_ranked": {"q": list(pages)}}
    data = write_vidore(tmp_path / "data", list(pages.items()), queries, [("q", "p0", 2)], **found)
    run("eval", data, tmp_path / "out", "--bundle", yes_no_bundle, "--instruction", INSTRUCTION, "--threads", 1)
    (row,) = (json.loads(line) for line in (tmp_path / "out" / "queries.jsonl").read_text().splitlines())
    ranking = library.rank(queries[0][1], list(pages.values()), instruction=INSTRUCTION)
    (ranked,) = row["systems"].values()
    assert ranked["order"] == [page.index for page in ranking]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert INSTRUCTION in json.dumps(report)


def test_doctor_says_which_kind_it_is(yes_no_bundle: Path) -> None:
    said = " ".join(run("doctor", "--bundle", yes_no_bundle).split())
    assert "log-odds of yes, each page by itself" in said
    assert "Given a search query" in said
    assert "log-odds" not in " ".join(run("doctor").split())
