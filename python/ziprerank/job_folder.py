"""A folder that one job at a time writes into, and that a job which was cut off goes on with.

Batches and evaluations write such folders.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ziprerank.errors import InvalidInput


@contextmanager
def locked(out: Path, writer: str) -> Iterator[None]:
    """Makes a folder where it is missing, locks it against other jobs, and removes what a killed one left half written.

    Args:
        out: The folder.
        writer: What the errors call a job.

    Raises:
        InvalidInput: The folder cannot be made, opened or locked, or another job holds it.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = os.open(out, os.O_RDONLY)
    except OSError as error:
        raise InvalidInput(f"the folder {out} cannot be created or opened: {error}") from error
    try:
        _lock(folder, out, writer)
        try:
            for draft in out.glob("_*.draft"):
                draft.unlink()
        except OSError as error:
            raise InvalidInput(f"the folder {out} cannot be used: {error}") from error
        yield
    finally:
        os.close(folder)


def begin_job(record: Path, job: Mapping[str, Any], writer: str) -> None:
    """Compares what the rows of a folder depend on with what stands in its record, and writes the record.

    Args:
        record: The JSON file in that folder. Without it the folder must be empty.
        job: What the rows depend on; what JSON has no type for is compared and written as a string.
        writer: What the errors call a job.

    Raises:
        InvalidInput: The record is damaged or another job's, or the folder holds something else or cannot be written.
    """
    out = record.parent
    job = json.loads(json.dumps(job, default=str))  # as it is when it is read again
    try:
        known = record.exists()
        if not known and any(out.iterdir()):
            raise InvalidInput(f"{out} holds files of something else: write into an empty or new folder")
    except OSError as error:
        raise InvalidInput(f"the folder {out} cannot be used: {error}") from error
    found = _read(record, writer) if known else job
    changed = [name for name in {**found, **job} if found.get(name) != job.get(name)]
    if changed:
        told = ", ".join(f"{name} was {found.get(name)!r}, now {job.get(name)!r}" for name in changed)
        raise InvalidInput(f"{out} holds rows of another {writer} ({told}): write into another folder")
    write_whole(record, (json.dumps(job, indent=2, ensure_ascii=False) + "\n").encode())


def write_whole(path: Path, data: Any) -> None:
    """Writes a file so that after a kill or a power failure it has either all of its new content or the old one.

    Args:
        path: The file.
        data: Its content, as bytes or a buffer.

    Raises:
        InvalidInput: As ``writing``; what was half written is removed.
    """
    draft = path.with_name(f"_{path.name}.draft")  # which locked removes after a kill
    with writing(path):
        try:
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError:
            with suppress(OSError):
                draft.unlink()
            raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Wraps what writes a file into the folder of a job. Raises InvalidInput if the disk is full or refuses."""
    try:
        yield
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be written: {error.strerror or error}; free space or let this folder be written, then run "
            "the same command again, which goes on where this run stopped"
        ) from error


def _lock(folder: int, out: Path, writer: str) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InvalidInput(f"{out} is being written by another {writer}: wait until it has ended") from error
    except OSError as error:  # a network drive without locks
        raise InvalidInput(f"{out} cannot be locked against another {writer}: {error}") from error


def _read(record: Path, writer: str) -> dict[str, Any]:
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        found = error
    if not isinstance(found, dict):
        told = found if isinstance(found, Exception) else "it is not a JSON object"
        raise InvalidInput(
            f"{record}, which says what {writer} wrote the rows, is damaged ({told}): write into a new folder"
        )
    return found
