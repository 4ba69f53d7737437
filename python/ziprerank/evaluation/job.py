"""Runs an evaluation: a row for each query in ``queries.jsonl``, which a run that was cut off continues."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ziprerank.errors import InvalidInput, PageError
from ziprerank.evaluation.candidates import Task
from ziprerank.evaluation.data import Data
from ziprerank.evaluation.lines import Lines, read_lines, writing
from ziprerank.evaluation.systems import Ranked, System, peak_mb

JOB, ROWS, SCRATCH = "job.json", "queries.jsonl", "pages"

Row = dict[str, Any]


def evaluate(
    data: Data,
    tasks: Sequence[Task],
    systems: Sequence[System],
    out: Path,
    settings: dict[str, Any],
    progress: Callable[[int, int | None], None] | None = None,
) -> None:
    """Ranks the queries that ``out`` has no row for yet. The row of a query holds all systems.

    A system that cannot rank a query, for example for a broken picture, has the reason in its place.

    Args:
        data: Where the pages come from.
        tasks: The queries and their candidates.
        systems: What ranks them, each on the same candidates.
        out: Folder for the rows, which is made if it is missing.
        settings: All that the rows depend on besides the systems; a folder of another run is refused.
        progress: Called with the number of rows written and of all.

    Raises:
        InvalidInput: ``out`` cannot be used, or two systems have the same name.
        EngineError: A system failed for another reason than the query; the rows before it are kept.
    """
    names = [name for system in systems for name in system.names]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidInput(f"two systems have the name {twice!r}: evaluate them into folders of their own")
    job = {
        **settings,
        "queries": _digest(tasks),
        "systems": {" ".join(one.names): dict(one.settings()) for one in systems},
    }
    with _locked(out):
        _check(out, job)
        done = {row["id"] for row in read_lines(out / ROWS)}
        left = [task for task in tasks if task.query.id not in done]
        if not left:
            return
        # those of all tasks, so that a run that goes on finds the pictures that it wrote before
        needed = {page for task in tasks if task.fault is None for page in task.pages}
        with data.opened(needed, out / SCRATCH), Lines(out / ROWS) as rows:
            for count, task in enumerate(left, start=len(done) + 1):
                rows.add(_row(task, systems, data))
                if progress is not None:
                    progress(count, len(tasks))
        shutil.rmtree(out / SCRATCH, ignore_errors=True)


def read_rows(out: Path) -> list[Row]:
    """Returns the rows of a folder, in the order in which they were written."""
    return list(read_lines(out / ROWS))


def _row(task: Task, systems: Sequence[System], data: Data) -> Row:
    query = task.query
    row: Row = {
        "id": query.id,
        "query": query.text,
        "group": query.group,
        "document": query.document,
        "relevant": None if query.relevant is None else dict(query.relevant),
        "candidates": list(task.pages),
        "fault": task.fault,
        "systems": {},
    }
    for system in systems:
        row["systems"] |= _ranked(system, task, data)
    row["peak_mb"] = peak_mb()
    return row


def _ranked(system: System, task: Task, data: Data) -> dict[str, Any]:
    fault = task.fault
    if fault is None:
        try:
            found = system.rank(task.query.text, task.pages, data)
            return {name: {**asdict(one), "fault": None} for name, one in zip(system.names, found, strict=True)}
        except PageError as error:
            where = f"{task.pages[error.index]}: " if error.index is not None else ""
            fault = f"{where}{error.reason}"
        except InvalidInput as error:
            fault = str(error)
    return {name: {**asdict(Ranked([], [], {})), "fault": fault} for name in system.names}


def _digest(tasks: Sequence[Task]) -> str:
    """Returns a digest of all queries, their relevant pages and their candidates."""
    digest = hashlib.sha256()
    for task in tasks:
        relevant = None if task.query.relevant is None else sorted(task.query.relevant.items())
        digest.update(json.dumps([task.query.id, task.query.text, relevant, task.pages]).encode())
    return digest.hexdigest()


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = os.open(out, os.O_RDONLY)
    except OSError as error:
        raise InvalidInput(f"the folder {out} cannot be created: {error}") from error
    try:
        _lock(lock, out)
        yield
    finally:
        os.close(lock)


def _lock(folder: int, out: Path) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InvalidInput(f"{out} is being written by another run: wait until it has ended") from error
    except OSError as error:  # a network drive without locks
        raise InvalidInput(f"{out} cannot be locked against other runs: {error}") from error


def _check(out: Path, job: dict[str, Any]) -> None:
    """Writes what the rows depend on, or compares it with what is there. Raises InvalidInput."""
    job = json.loads(json.dumps(job, default=str))
    file = out / JOB
    draft = file.with_suffix(".draft")
    with writing(draft):
        draft.unlink(missing_ok=True)  # left by a run that was killed
    if file.is_file():
        found = json.loads(file.read_text(encoding="utf-8"))
        changed = [name for name in {**found, **job} if found.get(name) != job.get(name)]
        if changed:
            told = ", ".join(f"{name} was {found.get(name)!r}, now {job.get(name)!r}" for name in changed)
            raise InvalidInput(f"{out} holds rows of another run ({told}): write into another folder")
    elif any(out.iterdir()):
        raise InvalidInput(f"{out} holds files of something else: write into an empty or new folder")
    else:
        with writing(out):
            draft.write_text(json.dumps(job, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            draft.replace(file)
