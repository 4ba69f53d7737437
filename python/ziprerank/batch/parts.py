"""What a batch writes: a folder of part files, each of them there whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Literal

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from ziprerank.errors import InvalidInput

Format = Literal["parquet", "jsonl"]

JOB = "_job.json"  # readers of a folder of Parquet files pass over names that begin with an underscore
SECONDS = 60.0  # what a kill may cost at most

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("query", pa.string(), nullable=False),
        ("documents", pa.list_(pa.string())),  # paths; "bytes" where the file itself was given
        ("pages", pa.int32()),  # candidates
        ("windows", pa.int32()),  # passes; with several, rank is the order and scores are of a page's last window
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
                        ("kept", pa.int32()),
                        ("tokens", pa.int32()),
                    ]
                )
            ),
        ),
        ("error", pa.string()),  # null where the row was ranked
    ]
)


class Output:
    """The folder ``out``; as a context manager it is this process's alone. ``done`` holds the ids of its rows.

    Rows that were added are on disk after ``part_rows`` of them or a minute, and at the end, however that comes about
    other than by a kill. ``job`` says what rows depend on; a folder with rows of another job is refused.
    """

    def __init__(self, out: Path, job: dict[str, Any], *, kind: Format = "parquet", part_rows: int = 1000) -> None:
        if part_rows < 1:
            raise InvalidInput(f"part rows {part_rows}: must be at least 1")
        self.done: set[str] = set()
        self.errors = 0
        self._out = out
        self._job = {"format": kind, **job}
        self._kind = kind
        self._part_rows = part_rows
        self._rows: list[dict[str, Any]] = []
        self._written = monotonic()

    def __enter__(self) -> Output:
        try:
            self._out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"{self._out} cannot be made a folder: {error}") from error
        self._lock = os.open(self._out, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._begin()
        except OSError as error:
            os.close(self._lock)
            raise InvalidInput(f"{self._out} is being written by another job: wait for its end") from error
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.flush()
        finally:
            os.close(self._lock)

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Rows as SCHEMA has them, none of whose ids is done."""
        self._rows += rows
        if len(self._rows) >= self._part_rows or monotonic() - self._written > SECONDS:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            self._write(self._out / f"part-{self._next:06d}.{self._kind}", self._rows)
            self._next += 1
            self._count(self._rows)
            self._rows = []
        self._written = monotonic()

    def drop_errors(self) -> int:
        """Takes the rows with an error out, so that they are ranked again; returns how many."""
        dropped = 0
        for part in self._parts():
            rows = list(read_part(part))
            good = [row for row in rows if row["error"] is None]
            if len(good) < len(rows):
                dropped += len(rows) - len(good)
                self.done -= {row["id"] for row in rows if row["error"] is not None}
                if good:
                    self._write(part, good)
                else:
                    part.unlink()
        self.errors = 0
        return dropped

    def _begin(self) -> None:
        for draft in self._out.glob("_*.draft"):  # what a kill cut off
            draft.unlink()
        record = self._out / JOB
        if record.exists():
            found = json.loads(record.read_text(encoding="utf-8"))
            changed = [name for name in self._job if found.get(name) != self._job[name]]
            if changed:
                told = ", ".join(f"{name} {found.get(name)!r}, now {self._job[name]!r}" for name in changed)
                raise InvalidInput(f"{self._out} holds rows of another job ({told}): write into another folder")
        elif any(self._out.iterdir()):
            raise InvalidInput(f"{self._out} holds files that are no job's: write into an empty or new folder")
        else:
            self._replace(record, (json.dumps(self._job, indent=2) + "\n").encode())
        parts = self._parts()
        self._next = 1 + max((int(part.stem.partition("-")[2]) for part in parts), default=-1)
        for part in parts:
            self._count(list(read_part(part, ["id", "error"])))

    def _count(self, rows: Sequence[dict[str, Any]]) -> None:
        self.done.update(row["id"] for row in rows)
        self.errors += sum(row["error"] is not None for row in rows)

    def _parts(self) -> list[Path]:
        return sorted(self._out.glob(f"part-*.{self._kind}"))

    def _write(self, part: Path, rows: Sequence[dict[str, Any]]) -> None:
        if self._kind == "jsonl":
            self._replace(part, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
            return
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(list(rows), SCHEMA), sink, compression="zstd")
        self._replace(part, sink.getvalue())

    def _replace(self, path: Path, data: Any) -> None:
        """Writes ``path`` so that after a kill, or a loss of power, it is there whole or as it was."""
        draft = path.with_name(f"_{path.name}.draft")
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        os.fsync(self._lock)


def read_part(part: Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows of one part file, Parquet or JSONL; of a Parquet file at least ``columns``, None is all."""
    if part.suffix == ".parquet":
        yield from pq.read_table(part, columns=columns, partitioning=None).to_pylist()
    else:
        with part.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)
