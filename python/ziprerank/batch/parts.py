"""The output of a batch job: a folder of part files, each of which is written completely or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Literal

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from ziprerank.errors import InvalidInput
from ziprerank.job_folder import begin_job, locked, write_whole

Format = Literal["parquet", "jsonl"]

VERSION = 2  # of the rows: 2 has the column digest
JOB = "_job.json"  # readers of a folder of Parquet files skip names that begin with an underscore
SECONDS = 60.0  # rows wait at most this long to be written, so a kill loses no more work than that

_NOTES = pa.list_(
    pa.struct(
        [
            ("document", pa.int32()),  # position in documents
            ("page", pa.int32()),  # from 1; null for an image, or for a document that cannot be opened
            ("text", pa.string()),
        ]
    )
)

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("query", pa.string(), nullable=False),
        ("documents", pa.list_(pa.string())),  # paths; "bytes" for a document given as bytes, "text" for a text alone
        ("pages", pa.int32()),  # candidates
        ("windows", pa.int32()),  # passes
        ("first_stage", pa.string()),  # what picked the pages that the model read
        ("strategy", pa.string()),  # windows or partition
        (
            "budget",  # what was chosen for one; null without
            pa.struct([("candidates", pa.int32()), ("keep_ratio", pa.float64()), ("estimated_ms", pa.float64())]),
        ),
        (
            "results",  # best first
            pa.list_(
                pa.struct(
                    [
                        ("rank", pa.int32()),
                        ("document", pa.int32()),  # position in documents
                        ("page", pa.int32()),  # from 1; null for an image
                        ("score", pa.float64()),
                        ("probability", pa.float64()),
                        ("sigmoid", pa.float64()),
                        ("kept", pa.int32()),
                        ("tokens", pa.int32()),
                        ("passes", pa.list_(pa.int32())),  # from 1; empty if the first stage left the page behind
                    ]
                )
            ),
        ),
        ("warnings", _NOTES),  # what the pixels of ranked pages do not show, also of pages that results leave out
        ("skipped", _NOTES),  # pages and documents that cannot be ranked, with their reasons
        ("error", pa.string()),  # null if the row was ranked
        pa.field("digest", pa.string(), nullable=False),  # of the input row, to find out whether it has changed
    ]
)


class Output:
    """The output folder of a job. Use it as a context manager, which locks the folder against other jobs.

    Added rows are written to disk after every ``part_rows`` rows or 60 s, and when the context ends, also by an error.

    Attributes:
        done: Digest of the input row by id, of the rows on disk.
        errors: How many of them have an error.
    """

    def __init__(self, out: Path, job: dict[str, Any], *, kind: Format = "parquet", part_rows: int = 1000) -> None:
        """Describes an output; the context opens it, and raises InvalidInput for a folder that it cannot use.

        Args:
            out: The folder, which is created if it does not exist.
            job: All that the rows depend on (``job_of``); a folder with rows of another job is rejected.
            kind: Format of the part files.
            part_rows: Rows per part file.

        Raises:
            InvalidInput: ``part_rows`` is under 1.
        """
        if part_rows < 1:
            raise InvalidInput(f"part rows {part_rows}: must be at least 1")
        self.done: dict[str, str] = {}
        self.errors = 0
        self._out = out
        self._job = {"version": VERSION, "format": kind, **job}
        self._kind = kind
        self._part_rows = part_rows
        self._rows: list[dict[str, Any]] = []
        self._written = monotonic()
        self._full = False  # whether a part could not be written

    def __enter__(self) -> Output:
        with ExitStack() as opened:
            opened.enter_context(locked(self._out, "job"))
            try:
                self._begin()
            except OSError as error:
                raise InvalidInput(f"the folder {self._out} cannot be used: {error}") from error
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._opened:
            if not self._full:
                self.flush()

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Adds rows in the shape of ``SCHEMA``, whose ids must not be in ``done``. Raises as ``flush``."""
        self._rows += rows
        if len(self._rows) >= self._part_rows or monotonic() - self._written > SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes the rows that were added since the last part file.

        Raises:
            InvalidInput: The file system is full or read-only, or fails in another way.
        """
        if self._rows:
            self._write(self._out / f"part-{self._next:06d}.{self._kind}", self._rows)
            self._next += 1
            self._count(self._rows)
            self._rows = []
        self._written = monotonic()

    def drop(self, unwanted: Callable[[dict[str, Any]], bool]) -> int:
        """Removes rows, so that they are ranked again, and returns their number. Raises as ``flush``."""
        dropped = 0
        for part in self._parts():
            rows = list(read_part(part))
            kept = [row for row in rows if not unwanted(row)]
            if len(kept) < len(rows):
                dropped += len(rows) - len(kept)
                self._write(part, kept)
        self._read_parts()
        return dropped

    def drop_errors(self) -> int:
        """Removes the rows with an error, so that they are ranked again, and returns their number."""
        return self.drop(lambda row: row["error"] is not None)

    def _begin(self) -> None:
        begin_job(self._out / JOB, self._job, "job")
        self._read_parts()

    def _read_parts(self) -> None:
        self.done, self.errors, self._next = {}, 0, 0
        for part in self._parts():
            self._next = 1 + _part_number(part)
            rows = list(read_part(part, ["id", "error", "digest"]))
            for row in rows:
                if row["id"] in self.done:
                    raise InvalidInput(f"{part} holds the row {row['id']!r} once more: remove the copy of a part file")
            self._count(rows)

    def _count(self, rows: Sequence[dict[str, Any]]) -> None:
        self.done.update((row["id"], row["digest"]) for row in rows)
        self.errors += sum(row["error"] is not None for row in rows)

    def _parts(self) -> list[Path]:
        return sorted(self._out.glob(f"part-*.{self._kind}"), key=_part_number)

    def _write(self, part: Path, rows: Sequence[dict[str, Any]]) -> None:
        """Writes a part file, or removes it if there are no rows."""
        if not rows:
            try:
                part.unlink()
            except OSError as error:
                raise InvalidInput(f"{part} cannot be removed: {error}") from error
        elif self._kind == "jsonl":
            self._replace(part, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
        else:
            sink = pa.BufferOutputStream()
            pq.write_table(pa.Table.from_pylist(list(rows), SCHEMA), sink, compression="zstd")
            self._replace(part, sink.getvalue())

    def _replace(self, path: Path, data: Any) -> None:
        try:
            write_whole(path, data)
        except InvalidInput:
            self._full = True
            raise


def read_part(part: Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yields the rows of a part file.

    Args:
        part: A Parquet or JSONL file.
        columns: Columns to read of a Parquet file; None is all. A JSONL file is read whole.

    Raises:
        InvalidInput: The file is damaged, or is none that a job has written.
    """
    try:
        if part.suffix == ".parquet":
            yield from pq.read_table(part, columns=columns or SCHEMA.names, partitioning=None).to_pylist()
        else:
            with part.open(encoding="utf-8") as lines:
                yield from map(_json_row, lines)
    except (OSError, ValueError, RecursionError, pa.ArrowException) as error:
        raise InvalidInput(
            f"{part} is damaged or no part of this job: {error}; remove it, and its rows are ranked again"
        ) from error


def _json_row(line: str) -> dict[str, Any]:
    row = json.loads(line)
    if not isinstance(row, dict) or not set(SCHEMA.names) <= set(row):
        raise ValueError(f"a line is no object with {', '.join(SCHEMA.names)}")
    if not isinstance(row["id"], str):
        raise ValueError(f"the id {row['id']!r} is no string")
    return row


def _part_number(part: Path) -> int:
    number = part.stem.partition("-")[2]
    if not (number.isascii() and number.isdigit()):
        raise InvalidInput(f"{part} is no part of this job, which are named part-000000: move it out of the folder")
    return int(number)
