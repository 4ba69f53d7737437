"""``ziprerank eval`` ranks as the library does, loses no query when it is killed, and tells what it could not rank."""

from __future__ import annotations

import errno
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import pytrec_eval
from eval_data import page_image, write_mmdocir, write_vidore
from typer.testing import CliRunner
from ziprerank import Reranker
from ziprerank.cli.app import app
from ziprerank.evaluation.runs import read_run, sorted_pages

COMMAND = [sys.executable, "-c", "from ziprerank.cli.app import app; app()", "eval"]
WORDS = ("whale", "bird", "rat", "share", "board", "paper", "letter", "window", "night", "river", "stone", "cloud")
CORRUPT = page_image("window")[:300]


def documents(count: int, questions: int) -> list[dict[str, Any]]:
    return [
        {
            "name": f"report {number}.pdf".replace(" ", "_"),
            "domain": ("Academic paper", "News")[number % 2],
            "pages": [WORDS[(number + page) % len(WORDS)] for page in range(4 + number)],
            "questions": [
                (f"where is the {WORDS[(number + page) % len(WORDS)]}?", [page % (4 + number)])
                for page in range(questions)
            ],
        }
        for number in range(count)
    ]


def run(*options: object) -> str:
    result = CliRunner().invoke(app, ["eval", *map(str, options)])
    assert result.exit_code == 0, result.output
    return result.output


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "queries.jsonl").read_text(encoding="utf-8").splitlines()]


def lasting(out: Path) -> tuple[Any, Any, dict[str, str]]:
    """All that a run gives but times and memory: the report, the rows and the run files."""
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    report.pop("peak_mb")
    for system in report["systems"]:
        system.pop("ms", None)
        system.pop("ms a page", None)
        system.pop("processor ms a page", None)
    rows = rows_of(out)
    for row in rows:
        row.pop("peak_mb")
        for ranked in row["systems"].values():
            ranked.pop("ms")
            ranked.pop("read_cpu_ms")
            ranked.pop("read")  # which goes with these times: a run that goes on reads texts again
    return report, rows, {file.name: file.read_text(encoding="utf-8") for file in sorted(out.glob("run.*"))}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mmdocir(tmp_path_factory.mktemp("eval") / "mmdocir", documents(3, 4))


@pytest.fixture(scope="module")
def unbroken(data: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("eval") / "out"
    run(data, out, "--bundle", bundle, "--keep-ratio", 1, "--keep-ratio", 0.5, "--baseline", "text", "--threads", 1)
    return out


def test_orders_are_those_of_the_library(unbroken: Path, bundle: Path) -> None:
    rows = rows_of(unbroken)
    assert len(rows) == len({row["id"] for row in rows}) == 12
    reranker = Reranker.from_bundle(bundle, threads=1)
    for row in rows[::5]:
        number = int(row["document"].partition("_")[2][0])
        pages = [page_image(text) for text in documents(3, 4)[number]["pages"]]
        for ratio in (1, 0.5):
            ranking = reranker.rank(row["query"], pages, keep_ratio=ratio)
            found = row["systems"][f"ziprerank-keep-{ratio}"]
            assert found["order"] == [page.index for page in ranking]
            assert found["scores"] == pytest.approx([page.score for page in ranking], abs=1e-5)
            assert found["tokens"]["passes"] == ranking.windows
            assert found["tokens"]["kept"] == ranking.tokens.kept


def test_run_files_give_the_measures_of_the_report(unbroken: Path) -> None:
    report = json.loads((unbroken / "report.json").read_text(encoding="utf-8"))
    qrels = {row["id"]: row["relevant"] for row in rows_of(unbroken)}
    names = {"page order", "bm25-text", "ziprerank-keep-1", "ziprerank-keep-0.5"}
    assert {system["name"] for system in report["systems"]} == names
    for system in report["systems"]:
        file = unbroken / f"run.{system['name'].replace(' ', '-')}.trec"
        scored = {query: dict(pages) for query, pages in read_run(file)}
        found = pytrec_eval.RelevanceEvaluator(qrels, {"recall.1,3", "ndcg_cut.10"}).evaluate(scored)
        for ours, theirs in (("recall@1", "recall_1"), ("recall@3", "recall_3"), ("ndcg@10", "ndcg_cut_10")):
            assert system["micro"][ours] == pytest.approx(sum(one[theirs] for one in found.values()) / 12, abs=1e-9)
    assert report["domains"]["without a query"][:2] == ["Administration/Industry file", "Brochure"]


def test_run_files_sort_as_the_ranking_does(unbroken: Path) -> None:
    runs = {query: sorted_pages(scored) for query, scored in read_run(unbroken / "run.ziprerank-keep-1.trec")}
    for row in rows_of(unbroken):
        order = row["systems"]["ziprerank-keep-1"]["order"]
        assert runs[row["id"]] == [row["candidates"][at] for at in order]


def test_the_table_has_the_published_rows_marked(unbroken: Path) -> None:
    text = (unbroken / "report.md").read_text(encoding="utf-8")
    assert "| ZipRerank, keep ratio 0.5 (published) | 63.9 | 83.8 |" in text
    assert "8 of 10 domains have no query here and count 0" in text
    page = (unbroken / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 1
    assert "(published)" in page


@pytest.mark.parametrize("at", ["before all rows", "after a row", "within a row"])
def test_a_run_that_was_cut_off_ends_as_an_unbroken_one(
    data: Path, unbroken: Path, bundle: Path, tmp_path: Path, at: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    if at == "before all rows":
        (out / "_job.json.draft").write_bytes((unbroken / "job.json").read_bytes()[:20])
    else:
        (out / "job.json").write_bytes((unbroken / "job.json").read_bytes())
        lines = (unbroken / "queries.jsonl").read_bytes().splitlines(keepends=True)
        torn = lines[5][: len(lines[5]) // 2] if at == "within a row" else b""
        (out / "queries.jsonl").write_bytes(b"".join(lines[:5]) + torn)
    run(data, out, "--bundle", bundle, "--keep-ratio", 1, "--keep-ratio", 0.5, "--baseline", "text", "--threads", 1)
    assert lasting(out) == lasting(unbroken)


def test_a_killed_run_ends_as_an_unbroken_one(bundle: Path, tmp_path: Path) -> None:
    data = write_mmdocir(tmp_path / "data", documents(4, 40))
    options = [str(data), "--bundle", str(bundle), "--keep-ratio", "0.5", "--threads", "1"]
    out, whole = tmp_path / "out", tmp_path / "whole"
    with subprocess.Popen([*COMMAND, options[0], str(out), *options[1:]]) as process:
        rows = out / "queries.jsonl"
        while not (rows.is_file() and rows.read_bytes().count(b"\n")):
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert 0 < rows.read_bytes().count(b"\n") < 160
    assert not (out / "report.json").exists()
    for folder in (out, whole):
        run(options[0], folder, *options[1:])
    assert lasting(out) == lasting(whole)


def test_another_run_or_another_folder_is_refused(data: Path, unbroken: Path, bundle: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["eval", str(data), str(unbroken), "--bundle", str(bundle), "--limit", "3"])
    assert result.exit_code == 1
    assert "holds rows of another run (limit was None, now 3" in " ".join(result.output.split())
    (tmp_path / "mine.txt").write_text("x", encoding="utf-8")
    result = CliRunner().invoke(app, ["eval", str(data), str(tmp_path), "--bundle", str(bundle)])
    assert "holds files of something else" in " ".join(result.output.split())


@pytest.mark.parametrize("most", [0, 2000])  # bytes of a file: the settings, then the pictures
def test_a_disk_that_takes_no_more_is_told_and_the_run_goes_on(
    most: int, data: Path, unbroken: Path, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = [data, out, "--bundle", bundle, "--keep-ratio", 1, "--keep-ratio", 0.5, "--baseline", "text"]
    command = [*COMMAND, *map(str, [*options, "--threads", 1])]
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY)),
    )
    assert ended.returncode == 1
    told = " ".join(ended.stderr.split())
    assert "cannot be written: File too large" in told
    assert "run the same command again" in told
    assert "Traceback" not in told
    run(*options, "--threads", 1)
    assert lasting(out) == lasting(unbroken)


def test_files_of_a_report_are_never_half_written(
    data: Path, unbroken: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(unbroken, tmp_path / "out"))
    written = {file.name: file.read_bytes() for file in out.iterdir() if file.name != "queries.jsonl"}
    options = [data, out, "--bundle", bundle, "--keep-ratio", 1, "--keep-ratio", 0.5, "--baseline", "text"]
    command = ["eval", *map(str, [*options, "--threads", 1])]
    real, left = os.fsync, 0

    def fail(file: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(file)

    monkeypatch.setattr(os, "fsync", fail)
    failed = []
    for count in itertools.count(step=2):  # each file is synced, and then its folder
        left = count
        for name in written:
            if name != "job.json":
                (out / name).write_text("old", encoding="utf-8")
        result = CliRunner().invoke(app, command)
        assert all((out / name).read_bytes() in (b"old", new) for name, new in written.items())
        assert not list(out.glob("*.draft"))
        if result.exit_code == 0:
            break
        told = " ".join(result.output.split())
        failed += [name for name in written if f"{name} cannot be written: No space left" in told]
    assert set(failed) == set(written) - {"report.png"}


def test_a_page_that_cannot_be_shown_may_be_skipped(bundle: Path, tmp_path: Path) -> None:
    corpus = [(0, page_image("whale")), (1, CORRUPT), (2, page_image("board"))]
    queries = [(1, "where is the whale?", "english"), (2, "nothing to see", "english")]
    data = write_vidore(tmp_path / "data", corpus, queries, [(1, 0, 1), (2, 1, 1)], top_ranked={1: [1, 2, 0], 2: [1]})
    run(data, tmp_path / "out", "--bundle", bundle, "--keep-ratio", 1, "--on-bad-page", "skip")
    first, second = (row["systems"]["ziprerank-keep-1"] for row in rows_of(tmp_path / "out"))
    assert first["fault"] is None
    assert first["order"] == [
        page.index
        for page in Reranker.from_bundle(bundle).rank(
            queries[0][1], [CORRUPT, corpus[2][1], corpus[0][1]], keep_ratio=1, on_bad_page="skip"
        )
    ]
    assert sorted(first["order"]) == [1, 2]
    assert list(first["skipped"]) == ["1"]
    assert second["order"] == []
    assert second["fault"].startswith("1: ")
    counts = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))["queries"]
    assert list(counts["not ranked by"]["ziprerank-keep-1"]) == ["2"]
    assert counts["skipped pages"] == {"ziprerank-keep-1": first["skipped"]}
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "ziprerank-keep-1 skipped 1 pages that cannot be shown" in text
    assert f"| ziprerank-keep-1 | 1 | {first['skipped']['1']}"[:60] in text


def test_what_cannot_be_ranked_is_a_row_with_its_reason_and_a_miss(bundle: Path, tmp_path: Path) -> None:
    corpus = [(name, page_image(WORDS[name])) for name in range(6)] + [(6, CORRUPT), (7, page_image(WORDS[0]))]
    queries = [
        (1, "where is the whale?", "english"),
        (2, "a corrupt picture", "english"),
        (3, "où est le rat ?", "french"),
        (4, "relevant, but no candidate", "english"),
        (5, "twice the same candidate", "english"),
        (6, "nobody judged this", "english"),
        (7, "the same picture under two ids", "english"),
        (8, "  ", "english"),
    ]
    qrels = [(1, 0, 2), (1, 1, 1), (2, 5, 1), (3, 2, 1), (4, 5, 1), (5, 1, 1), (7, 7, 1), (8, 1, 1)]
    ranked = {1: [0, 1, 2], 2: [5, 6], 3: [1, 2], 4: [0, 1], 5: [1, 1], 6: [0, 1], 7: [0, 7], 8: [1]}
    data = write_vidore(tmp_path / "data", corpus, queries, qrels, top_ranked=ranked)
    told = run(data, tmp_path / "out", "--bundle", bundle, "--keep-ratio", 1)
    assert "8 queries, 2 of them could not be ranked" in " ".join(told.split())
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    counts = report["queries"]
    assert (counts["all"], counts["judged"], counts["not judged"]) == (8, 7, ["6"])
    assert counts["not ranked"] == {"5": "the first stage has the candidate 1 twice", "8": "the query is empty"}
    assert list(counts["not ranked by"]) == ["ziprerank-keep-1"]
    (fault,) = counts["not ranked by"]["ziprerank-keep-1"].values()
    assert fault.startswith("6: ")
    assert (counts["without a relevant candidate"], counts["relevant pages that are no candidates"]) == (1, 1)
    rows = {row["id"]: row for row in rows_of(tmp_path / "out")}
    assert rows["2"]["systems"]["ziprerank-keep-1"]["order"] == []
    assert rows["7"]["systems"]["ziprerank-keep-1"]["fault"] is None
    first, ours = report["systems"]
    hits = [rows[name]["systems"]["ziprerank-keep-1"]["order"] for name in ("1", "3", "7")]
    expected = [hits[0][0] in (0, 1), hits[1][0] == 1, hits[2][0] == 1]
    assert ours["micro"]["hit@1"] == pytest.approx(sum(expected) / 7)
    assert first["micro"]["recall@3"] == pytest.approx((1 + 1 + 1 + 0 + 1 + 1 + 1) / 7)
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "| all | 8 | the query is empty |" in text


def test_more_candidates_than_a_pass_takes_go_through_windows(bundle: Path, tmp_path: Path) -> None:
    pages = [f"{WORDS[number % len(WORDS)]} {number}" for number in range(27)]
    document = {"name": "long.pdf", "domain": "Laws", "pages": pages, "questions": [("where is the river?", [9])]}
    data = write_mmdocir(tmp_path / "data", [document])
    run(data, tmp_path / "out", "--bundle", bundle)
    (row,) = rows_of(tmp_path / "out")
    (ranked,) = row["systems"].values()
    assert ranked["tokens"]["passes"] > 1
    assert sorted(ranked["order"]) == list(range(27))
    (found,) = read_run(next((tmp_path / "out").glob("run.ziprerank*")))
    assert sorted_pages(found[1]) == [row["candidates"][at] for at in ranked["order"]]


def test_two_thousand_queries_over_twenty_thousand_pages_fit_in_a_gigabyte(bundle: Path, tmp_path: Path) -> None:
    pictures = [page_image(word, size=(64, 64)) for word in WORDS]
    corpus = [(page, pictures[page % len(pictures)]) for page in range(20_000)]
    queries = [(query, f"where is the {WORDS[query % len(WORDS)]}?", "english") for query in range(2000)]
    ranked = {query: range(10 * query, 10 * query + 10) for query in range(2000)}
    qrels = [(query, 10 * query + 3, 1) for query in range(2000)]
    data = write_vidore(tmp_path / "data", corpus, queries, qrels, top_ranked=ranked)
    out = tmp_path / "out"
    options = ["--bundle", str(bundle), "--limit", "20", "--threads", "1", "--pool-size", "64M"]
    program = (
        "from ziprerank.cli.app import app; from ziprerank.runtime.memory import peak_bytes\n"
        "app(standalone_mode=False); print('held', peak_bytes() / 1e6)"
    )
    command = [sys.executable, "-c", program, "eval", str(data), str(out), *options]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    held = float(printed.rpartition("held ")[2])
    assert len(rows_of(out)) == 20
    assert held < 1000
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert 0 < report["peak_mb"] <= held


def test_unusable_options_are_named(data: Path, tmp_path: Path) -> None:
    for options, told in (
        (["--no-engine"], "leaves nothing to rank with"),
        (["--baseline", "magic"], "must be text or ocr"),
        (["--depth", "0"], "depth 0"),
        (["--format", "trec"], "has no documents.tsv"),
    ):
        result = CliRunner().invoke(app, ["eval", str(data), str(tmp_path / "out"), *options])
        assert result.exit_code == 1
        assert told in " ".join(result.output.split())
