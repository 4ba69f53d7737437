"""A folder that one job at a time writes into, and that a job which was cut off goes on with."""

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
def locked(out: Path, writer: str) -> Iterator[int]:
    """Makes a folder where it is missing, locks it against other jobs, and removes what a killed one left half written.

    Args:
        out: The folder.
        writer: What the errors call a job.

    Yields:
        The folder's descriptor, for ``write_whole``.

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
        yield folder
    finally:
        os.close(folder)


def check_job(record: Path, job: Mapping[str, Any], writer: str) -> bool:
    """Compares what the rows of a folder depend on with what stands in its record.

    Args:
        record: The JSON file in that folder.
        job: What the rows depend on, as JSON has it.
        writer: What the errors call a job.

    Returns:
        Whether the record was there; without it the folder is empty.

    Raises:
        InvalidInput: The record is damaged or another job's, or the folder holds something else.
    """
    out = record.parent
    if not record.exists():
        if any(out.iterdir()):
            raise InvalidInput(f"{out} holds files of something else: write into an empty or new folder")
        return False
    found = _read(record, writer)
    changed = [name for name in {**found, **job} if found.get(name) != job.get(name)]
    if changed:
        told = ", ".join(f"{name} was {found.get(name)!r}, now {job.get(name)!r}" for name in changed)
        raise InvalidInput(f"{out} holds rows of another {writer} ({told}): write into another folder")
    return True


def write_whole(path: Path, data: Any, folder: int) -> None:
    """Writes a file so that after a kill or a power failure it has either all of its new content or the old one.

    Args:
        path: The file.
        data: Its content, as bytes or a buffer.
        folder: The descriptor of its folder.

    Raises:
        OSError: The disk is full, or refuses; what was half written is removed.
    """
    draft = path.with_name(f"_{path.name}.draft")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        os.fsync(folder)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise


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
