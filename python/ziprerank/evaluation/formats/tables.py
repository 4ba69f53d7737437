"""Rows of Parquet files, streamed: text columns into memory, pictures into one file on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from ziprerank.errors import InvalidInput
from ziprerank.job_folder import write_whole, writing

_ROWS = 32  # read at a time, so that pictures of some megabytes each stay few in memory


def files_of(folder: Path, name: str) -> list[Path]:
    """Returns the Parquet files of a table in the layouts of the Hugging Face hub, sorted; empty if there is none.

    These are ``name.parquet``, ``name/*.parquet``, and ``name-*.parquet`` at the top or in ``data``.
    """
    places = (
        [folder / f"{name}.parquet"],
        (folder / name).glob("*.parquet"),
        folder.glob(f"{name}-*.parquet"),
        (folder / "data").glob(f"{name}-*.parquet"),
    )
    return next((found for place in places if (found := sorted(file for file in place if file.is_file()))), [])


def column(files: Sequence[Path], names: Sequence[str], *, optional: bool = False) -> str | None:
    """Returns which of ``names`` is a column of these files.

    Raises:
        InvalidInput: None of them is, unless that is ``optional``; or a file cannot be read.
    """
    held = _schema(files[0]).names
    found = next((name for name in names if name in held), None)
    if found is None and not optional:
        raise InvalidInput(f"{files[0]} has the columns {', '.join(held)}, and none is called {' or '.join(names)}")
    return found


def records(files: Sequence[Path], columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the rows of a table with these columns, each with what an error calls it.

    Raises:
        InvalidInput: A file cannot be read.
    """
    for file in files:
        number = 0
        try:
            # no pre-buffer: a row group may hold all pictures of a data set
            with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as table:
                for batch in table.iter_batches(batch_size=_ROWS, columns=list(columns), use_threads=False):
                    for record in batch.to_pylist():
                        number += 1
                        yield f"{file}, row {number}", record
        except (OSError, pa.ArrowException) as error:
            raise InvalidInput(f"{file} cannot be read as Parquet: {error}") from error


def picture(value: Any, base: Path) -> bytes:
    """Returns the bytes of a picture: bytes, or ``{"bytes": ..., "path": ...}`` as in Hugging Face's image columns.

    Raises:
        InvalidInput: It has neither bytes nor a path to a file.
    """
    if isinstance(value, Mapping):
        held, path = value.get("bytes"), value.get("path")
        if held is None and isinstance(path, str) and (base / path).is_file():
            return (base / path).read_bytes()
        value = held
    if not isinstance(value, bytes) or not value:
        raise InvalidInput("the row has no picture, neither as bytes nor as the path of a file")
    return value


class Pictures:
    """The pictures of some pages in one file on disk, so that any of them is read without the tables.

    Row groups of data sets hold up to all of their pictures, which no memory would keep.
    """

    def __init__(self, scratch: Path, key: object) -> None:
        """Describes the file; ``fill`` writes it.

        Args:
            scratch: Folder of the file.
            key: What the pictures depend on; a file that was written for another key is written again.
        """
        self._file, self._index = scratch / "pages.bin", scratch / "pages.json"
        self._key = json.loads(json.dumps(key))
        self._places: dict[str, tuple[int, int]] = {}
        self._faults: dict[str, str] = {}

    def fill(self, rows: Callable[[], Iterator[tuple[str, Any]]], base: Path) -> None:
        """Writes the pictures, unless an earlier run has.

        Args:
            rows: Yields the id of each page and its picture as the table has it.
            base: Folder that paths of pictures are seen from.
        """
        if self._index.is_file():
            known = json.loads(self._index.read_text(encoding="utf-8"))
            if known["key"] == self._key:
                self._places = {page: (start, size) for page, (start, size) in known["places"].items()}
                self._faults = known["faults"]
                return
            self._index.unlink()
        with writing(self._file):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            out = self._file.open("wb", buffering=0)
        with out:
            for page, value in rows():
                try:
                    data = picture(value, base)
                except InvalidInput as error:
                    self._faults[page] = str(error)
                    continue
                self._places[page] = (out.tell(), len(data))
                with writing(self._file):
                    _write_all(out, data)
        index = {"key": self._key, "places": self._places, "faults": self._faults}
        write_whole(self._index, json.dumps(index).encode())

    def read(self, page: str) -> bytes:
        """Returns a page's picture. Raises InvalidInput if there is none."""
        if page in self._faults:
            raise InvalidInput(f"{page}: {self._faults[page]}")
        if page not in self._places:
            raise InvalidInput(f"{page}: the data has no such page")
        start, size = self._places[page]
        with self._file.open("rb") as file:
            file.seek(start)
            return file.read(size)


def _write_all(file: FileIO, data: bytes) -> None:
    """Writes all of the data; a disk that is nearly full takes a part of it, and fails at the next."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def _schema(file: Path) -> Any:
    try:
        return pq.read_schema(file)
    except (OSError, pa.ArrowException) as error:
        raise InvalidInput(f"{file} cannot be read as Parquet: {error}") from error


def stamp(files: Sequence[Path]) -> list[list[Any]]:
    """Returns what tells these files from others: name, size and time of the last change."""
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
