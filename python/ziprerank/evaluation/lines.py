"""A file of JSON lines that grows, and that a kill leaves readable: a line is in it whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from ziprerank.job_folder import writing


class Lines:
    """Appends rows to a file. Use it as a context manager, which first removes a last line that a kill cut off."""

    def __init__(self, file: Path) -> None:
        self._path = file

    def __enter__(self) -> Lines:
        with writing(self._path):
            self._file = self._path.open("ab")
            self._file.truncate(_whole(self._path))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with writing(self._path):
            self._file.close()

    def add(self, row: dict[str, Any]) -> None:
        """Writes a row to the disk; half a surrogate pair becomes the escape by which JSON writes it."""
        line = (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        with writing(self._path):
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())


def read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Yields the rows of a file, without a last one that a kill cut off; nothing if there is no file."""
    if file.is_file():
        with file.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    yield json.loads(line)


def _whole(file: Path) -> int:
    """Returns the bytes up to the end of the last whole line."""
    with file.open("rb") as lines:
        return sum(len(line) for line in lines if line.endswith(b"\n"))
