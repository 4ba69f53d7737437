"""Tests of ``ziprerank batch`` as people run it: to its end, after kills, and with rows that cannot be ranked."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import pandas
import pytest
from batch_job import BROKEN, QUERIES, Job, rows_of
from hostile_files import endless_pdf
from ziprerank.reranker import Reranker

Command = Callable[..., "Popen[str]"]


@pytest.fixture(scope="session")
def expected(job: Job, reranker: Reranker) -> dict[str, list[dict[str, Any]] | None]:
    """The library's own ranking of each row by id; None if a document is broken."""
    rows: dict[str, list[dict[str, Any]] | None] = {}
    for number, documents in enumerate(job.documents):
        for at, query in enumerate(QUERIES):
            rows[f"{number}/{at}"] = None
            if number not in BROKEN:
                rows[f"{number}/{at}"] = [
                    {"rank": page.rank, "document": page.index if page.page is None else 0, "page": page.page}
                    | {"score": page.score, "probability": page.probability, "sigmoid": page.sigmoid}
                    | {"kept": len(page.kept), "tokens": page.tokens, "passes": list(page.passes)}
                    for page in reranker.rank(query, documents)
                ]
    return rows


def check(out: Path, job: Job, expected: dict[str, list[dict[str, Any]] | None]) -> None:
    rows = rows_of(out)
    assert [row["id"] for row in rows] == sorted(job.ids)  # no row is missing or repeated
    for row in rows:
        number, at = map(int, row["id"].split("/"))
        assert row["query"] == QUERIES[at]
        assert row["results"] == expected[row["id"]]
        assert (row["error"] is not None) == (number in BROKEN)
        names = [document if isinstance(document, Path) else "bytes" for document in job.documents[number]]
        assert [Path(name) if name != "bytes" else name for name in row["documents"]] == names


def wait_for(reached: Callable[[], bool], process: Popen[str]) -> None:
    while not reached():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_one_worker(job: Job, bundle_path: Path, command: Command, tmp_path: Path, expected: Any) -> None:
    process = command(job.table, tmp_path / "out", "--bundle", bundle_path, "--threads", 1)
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "200 rows, 200 of them ranked now, 10 with an error" in told
    check(tmp_path / "out", job, expected)
    frame = pandas.read_parquet(tmp_path / "out")  # users read the folder as one table
    assert len(frame) == 200
    assert set(frame[frame.error.notna()].id) == {f"{number}/{at}" for number in BROKEN for at in range(5)}


@pytest.mark.slow  # 200 rows, interrupted twice; a worker that dies is tested below
def test_two_workers_killed_twice(job: Job, bundle_path: Path, command: Command, tmp_path: Path, expected: Any) -> None:
    out = tmp_path / "out"
    arguments = (job.table, out, "--bundle", bundle_path, "--threads", 1, "--workers", 2, "--part-rows", 10)
    for parts in (3, 9):
        process = command(*arguments)
        wait_for(lambda wanted=parts: len(list(out.glob("part-*"))) >= wanted, process)  # type: ignore[misc]
        workers = children(process.pid)
        assert len(workers) >= 2
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        done = len(rows_of(out))
        assert 0 < done < 200
        deadline = time.monotonic() + 60
        while any(Path(f"/proc/{worker}").exists() for worker in workers):  # no worker outlives its parent
            assert time.monotonic() < deadline
            time.sleep(0.05)
    (out / "_part-000099.parquet.draft").write_bytes(b"half a fi")  # as a kill during writing leaves it
    process = command(*arguments)
    told, _ = process.communicate(timeout=120)
    assert f"200 rows, {200 - done} of them ranked now" in told
    assert not list(out.glob("*.draft"))
    check(out, job, expected)


def test_a_worker_that_dies_costs_one_document(job: Job, bundle_path: Path, command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = (job.table, out, "--bundle", bundle_path, "--threads", 1, "--part-rows", 1, "--output", "jsonl")
    process = command(*arguments)
    wait_for(lambda: len(list(out.glob("part-*"))) >= 3, process)
    known = len(rows_of(out))
    (worker,) = (pid for pid in children(process.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(worker, signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode == 0
    rows = rows_of(out)
    assert [row["id"] for row in rows] == sorted(job.ids)
    died = [row for row in rows if row["error"] and "the worker process ended with status -9" in row["error"]]
    assert known < 200
    assert len(died) == len(QUERIES)
    assert len({row["id"].partition("/")[0] for row in died}) == 1
    process = command(*arguments, "--retry-errors")
    told, _ = process.communicate(timeout=120)
    again = 10 if int(died[0]["id"].partition("/")[0]) in BROKEN else 15  # it may have died on a broken one
    assert f"200 rows, {again} of them ranked now, 10 with an error" in told
    assert [row["id"] for row in rows_of(out)] == sorted(job.ids)


def test_a_document_that_does_not_end_costs_its_rows(bundle_path: Path, command: Command, tmp_path: Path) -> None:
    sample = Path(__file__).parents[2] / "python" / "examples" / "sample.pdf"
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "b.pdf").write_bytes(endless_pdf())
    for name in "acd":
        shutil.copyfile(sample, folder / f"{name}.pdf")
    options = ("--workers", 2, "--part-rows", 1, "--page-timeout", 0.5, "--query", "invoice")
    process = command(folder, out, "--bundle", bundle_path, *options)
    told, _ = process.communicate(timeout=120)
    assert "4 rows, 4 of them ranked now, 1 with an error" in told
    errors = {Path(row["documents"][0]).name: row["error"] for row in rows_of(out)}
    assert errors.pop("b.pdf").endswith("b.pdf, page 1): rendering it took more than 0.5 s (page_timeout)")
    assert errors == dict.fromkeys(("a.pdf", "c.pdf", "d.pdf"))


def test_one_job_a_folder(job: Job, bundle_path: Path, command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    running = command(job.table, out, "--bundle", bundle_path, "--threads", 1, "--part-rows", 1)
    wait_for(lambda: bool(list(out.glob("part-*"))), running)
    _, told = command(job.table, out, "--bundle", bundle_path).communicate(timeout=60)
    assert "is being written by another job" in " ".join(told.split())
    running.kill()
    running.wait()
    process = command(job.table, out, "--bundle", bundle_path, "--keep-ratio", 0.25)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "keep_ratio was 0.5, now 0.25" in " ".join(told.split())


def test_an_engine_that_cannot_start_ends_the_job(
    job: Job, bundle_path: Path, command: Command, tmp_path: Path
) -> None:
    process = command(job.table, tmp_path / "out", "--bundle", bundle_path, "--provider", "cuda")
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "a worker could not start" in told
    assert rows_of(tmp_path / "out") == []


def test_a_folder_of_files(job: Job, bundle_path: Path, command: Command, tmp_path: Path) -> None:
    folder = job.table.parent
    queries = tmp_path / "queries.txt"
    queries.write_text(f"{QUERIES[1]}\n\n{QUERIES[2]}\n")
    out = tmp_path / "out"
    process = command(
        folder, out, "--bundle", bundle_path, "--query", QUERIES[0], "--queries", queries, "--output", "jsonl"
    )
    told, _ = process.communicate(timeout=120)
    files = [path for path in folder.iterdir() if path.suffix in (".pdf", ".png")]
    rows = [json.loads(line) for part in out.glob("*.jsonl") for line in part.read_text().splitlines()]
    assert f"{3 * len(files)} rows" in told
    assert sorted((row["documents"][0], row["query"]) for row in rows) == sorted(
        (str(file), query) for file in files for query in QUERIES[:3]
    )
