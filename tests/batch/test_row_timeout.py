"""Tests that a row that does not end becomes a row with an error: looked at between pages, and killed if stuck."""

from __future__ import annotations

import itertools
import json
import pickle
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import numpy as np
import pytest
from batch_job import Job, StuckRanker, rows_of
from blocking_engine import BlockingEngine
from hostile_files import endless_pdf
from pdf_files import drawn_pdf
from ziprerank.batch import ranking, workers
from ziprerank.batch.ranking import Done, Ranker
from ziprerank.batch.ray_data import RankGroups
from ziprerank.batch.rows import Group, Row
from ziprerank.batch.workers import rank_locally
from ziprerank.errors import InvalidInput
from ziprerank.profiling.meter import StepCount
from ziprerank.reranker import Reranker

Command = Callable[..., "Popen[str]"]


class Slow:
    """A reranker in whose time ``now`` some queries take so many seconds before each of their steps."""

    def __init__(self, reranker: Reranker, seconds: dict[str, float]) -> None:
        self.now = 0.0
        self._reranker = reranker
        self._seconds = seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reranker, name)

    def rank_many(self, queries: list[str], *arguments: Any, progress: Any, **options: Any) -> Any:
        before = 0

        def slow(step: int, steps: int) -> None:
            nonlocal before
            if step > before:  # else it waits for a page
                self.now += self._seconds.get(queries[(step - 1) // (steps // len(queries))], 0)
            before = step
            progress(step, steps)

        return self._reranker.rank_many(queries, *arguments, progress=slow, **options)


@pytest.mark.parametrize(
    ("seconds", "late"),
    [
        ({}, ""),
        ({"b": 20}, "b"),  # the pages are there: only this row is late
        ({"a": 20}, "abcd"),  # the pages take too long: so they would for every row
        ({"b": 20, "d": 20}, "bd"),
        ({"a": 10, "b": 10, "c": 10}, ""),  # 50 s are for a row, not for all
    ],
)
def test_rows_that_are_late(
    job: Job, reranker: Reranker, monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], late: str
) -> None:
    """Each row has a document of three pages, so four steps, and 50 s."""
    slow = Slow(reranker, seconds)
    monkeypatch.setattr(ranking, "monotonic", lambda: slow.now)
    (document,) = job.documents[8]
    group = Group(tuple(Row(name, name, (str(document),)) for name in "abcd"))
    done = [row for some in Ranker(row_timeout=50).rank(slow, group) for row in some.rows]  # type: ignore[arg-type]
    assert sorted(row["id"] for row in done) == list("abcd")
    errors = {row["id"]: row["error"] for row in done}
    assert "".join(sorted(name for name, error in errors.items() if error)) == late
    assert all("not ranked within 50 s" in errors[name] for name in late)


def test_a_pass_ends_with_its_rows_time(job: Job, reranker: Reranker, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, signs = BlockingEngine(reranker.engine), []
    monkeypatch.setattr(ranking, "monotonic", lambda: 60.0 if engine.began.is_set() and len(signs) > 3 else 0.0)
    group = Group((Row("a", "a", (str(job.documents[8][0]),)),))
    (done,) = Ranker(row_timeout=50).rank(Reranker(reranker.bundle, engine), group, lambda: signs.append(1))
    assert "not ranked within 50 s" in done.rows[0]["error"]
    assert engine.ended == 1


def test_the_wait_for_a_page_is_a_rows_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also that for its first page, during which no step is done."""
    seconds = itertools.count(0, 10)
    monkeypatch.setattr(ranking, "monotonic", lambda: next(seconds))
    clock = ranking._Clock(50, lambda: None)
    steps = StepCount(6, 2)
    for done in (*(StepCount(pages, 0) for pages in range(4)), StepCount(3, 1)):
        clock.step(done, steps, 2)
    assert clock.row == 1

    def wait() -> None:
        for _ in range(9):
            clock.step(StepCount(3, 1), steps, 2)

    with pytest.raises(ranking._TimeUp):
        wait()


def test_rows_are_told_apart_after_a_new_beginning() -> None:
    """Without a page that turned out to be bad: two rows of four steps, and after one of these two rows of three."""
    clock = ranking._Clock(None, lambda: None)
    rows = []
    before, after = StepCount(6, 2), StepCount(5, 2)
    for pages, passes, steps in [
        *((1, 0, before), (1, 0, after), (2, 0, after), (3, 0, after)),
        *((3, 1, after), (4, 1, after), (5, 1, after)),
    ]:
        clock.step(StepCount(pages, passes), steps, 2)
        rows.append(clock.row)
    assert rows == [0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("candidates", [4, 12])
def test_the_first_stage_is_a_part_of_the_first_row(reranker: Reranker, candidates: int) -> None:
    """Relevance encodes all pages for all rows, of which none is done by that."""
    clock, rows = ranking._Clock(None, lambda: None), []

    def note(done: StepCount, steps: StepCount) -> None:
        clock.step(done, steps, 3)
        rows.append((done.passes, clock.row))

    pages = drawn_pdf((lambda canvas, page=page: canvas.drawString(20, 200, f"page {page}")) for page in range(30))
    queries = ["soup", "engine", "harbour"]
    found = reranker.rank_many(queries, pages, first_stage="relevance", window=4, candidates=candidates, progress=note)
    each = found[0].windows
    assert each == {4: 1, 12: 5}[candidates]
    assert {row for passes, row in rows} == {0, 1, 2, 3}
    assert all(row == passes // each for passes, row in rows)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "1"])
def test_timeouts_that_are_refused(timeout: Any) -> None:
    with pytest.raises(InvalidInput, match="row timeout"):
        Ranker(row_timeout=timeout)


def groups() -> list[Group]:
    rows = [("a", "x"), ("b", "x"), ("stuck", "y"), ("c", "y"), ("die", "z"), ("d", "w")]
    names = dict.fromkeys(document for _, document in rows)
    return [Group(tuple(Row(query, query, (name,)) for query, one in rows if one == name)) for name in names]


def check(done: list[Done]) -> None:
    errors = {row["id"]: row["error"] for some in done for row in some.rows}
    assert sorted(errors) == ["a", "b", "c", "d", "die", "stuck"]
    assert [errors[name] for name in "abd"] == ["not ranked"] * 3
    assert [("stuck and has been killed" in errors[name]) for name in ("stuck", "c")] == [True, True]
    assert "ended with status 3" in errors["die"]
    assert [some.failed for some in done if any(row["id"] == "stuck" for row in some.rows)] == [False]


def test_a_stuck_worker_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "GRACE", 1.0)
    check(list(rank_locally(groups(), StuckRanker(row_timeout=0.5), 1)))
    check(list(rank_locally(groups(), StuckRanker(row_timeout=0.5), 3)))


def test_a_stuck_worker_of_an_actor_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an actor on Ray does with each batch."""
    monkeypatch.setattr(workers, "GRACE", 1.0)
    actor = RankGroups(StuckRanker(row_timeout=0.5))
    batch = {"group": np.array([pickle.dumps(group) for group in groups()], dtype=object)}
    check([done for some in actor(batch)["done"] for done in pickle.loads(some)])


def test_a_time_longer_than_the_system_waits_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting goes on after each of the waits that it is made of, of which the process's start takes several."""
    ranker = StuckRanker(row_timeout=9_999_999)
    group = Group((Row("a", "x", ("x",)),))
    (done,) = rank_locally([group], ranker, 1)
    monkeypatch.setattr(workers, "_LONGEST_WAIT", 0.001, raising=False)
    actor = RankGroups(ranker)
    (again,) = pickle.loads(actor({"group": np.array([pickle.dumps(group)], dtype=object)})["done"][0])
    actor._close()
    assert [row["error"] for one in (done, again) for row in one.rows] == ["not ranked"] * 2


def test_a_stuck_worker_ends_with_its_parent() -> None:
    """Killed without any chance to clean up, the parent leaves nothing behind that runs for ever."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from batch_job import StuckRanker\n"
        "from ziprerank.batch.rows import Group, Row\n"
        "from ziprerank.batch.workers import rank_locally\n"
        "if __name__ == '__main__':\n"
        "    groups = [Group((Row('a', 'fine', ('x',)), Row('b', 'stuck', ('x',))))]\n"
        "    for done in rank_locally(groups, StuckRanker(row_timeout=None), 1): print('ranked', flush=True)\n"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parents[1])]
    with Popen(command, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ranked\n"  # the next row is the one that never ends
        listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{child}").exists() for child in listed):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert listed


def test_a_document_that_holds_the_parser(job: Job, bundle_path: Path, command: Command, tmp_path: Path) -> None:
    """The time of its rows is up before that of its page, which is 20 s."""
    (tmp_path / "never.pdf").write_bytes(endless_pdf())
    (tmp_path / "good.pdf").write_bytes((job.table.parent / "0-0.pdf").read_bytes())
    rows = [
        {"id": f"{name} {at}", "query": "q", "documents": f"{name}.pdf"} for name in ("never", "good") for at in "ab"
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = (tmp_path / "rows.jsonl", tmp_path / "out", "--bundle", bundle_path, "--threads", 1)
    process = command(*arguments, "--row-timeout", 10)
    told, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "4 rows, 4 of them ranked now, 2 with an error" in told
    failed = {row["id"]: row["error"] for row in rows_of(tmp_path / "out") if row["error"]}
    assert list(failed) == ["never a", "never b"]
    assert all("not ranked within 10 s" in error for error in failed.values())
