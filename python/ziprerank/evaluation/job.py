"""Runs an evaluation: a row for each query in ``queries.jsonl``, which a run that was cut off continues."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ziprerank.errors import InvalidInput, PageError
from ziprerank.evaluation.candidates import Task
from ziprerank.evaluation.data import Data
from ziprerank.evaluation.lines import Lines, read_lines
from ziprerank.evaluation.systems import Ranked, System
from ziprerank.job_folder import begin_job, locked
from ziprerank.runtime.memory import peak_bytes

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
    with locked(out, "run"):
        begin_job(out / JOB, job, "run")
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
    row["peak_mb"] = round(peak_bytes() / 1e6, 1)
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
