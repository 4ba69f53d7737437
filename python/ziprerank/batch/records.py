"""Reads the records of a JSONL or Parquet file; what cannot be read is a record with a fault, and the next follow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from ziprerank.errors import InvalidInput

AT_ONCE = 256  # rows of a Parquet file that are held at a time


@dataclass(frozen=True, slots=True)
class Record:
    """A row of a table before its meaning is known.

    Attributes:
        number: Its line in a JSONL file or its row in a Parquet file, from 1.
        values: The columns that could be read.
        fault: Why it could not be read; None if it could.
        raw: The line of a JSONL file.
    """

    number: int
    values: dict[str, Any]
    fault: str | None = None
    raw: bytes = b""


def jsonl_records(source: Path) -> Iterator[Record]:
    """Yields a record for each line that is not blank. Raises InvalidInput for a file that cannot be read."""
    try:
        with source.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _jsonl_record(number, line)
    except OSError as error:
        raise InvalidInput(f"{source} cannot be read: {error}") from error


def parquet_records(source: Path, columns: Sequence[str] | None = None) -> Iterator[Record]:
    """Yields a record for each row, with these columns or with all. Raises InvalidInput for a file that is damaged."""
    with _read_errors(source), pq.ParquetFile(source) as file:
        number = 0
        for batch in file.iter_batches(batch_size=AT_ONCE, columns=columns):
            for record in _batch_records(batch, number + 1):
                number = record.number
                yield record


def parquet_columns(source: Path) -> list[str]:
    """Returns the names of the columns. Raises InvalidInput for a file that is no Parquet."""
    with _read_errors(source):
        return list(pq.read_schema(source).names)


def _jsonl_record(number: int, line: bytes) -> Record:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Record(number, {}, f"row {number} is not JSON: {error}", line)
    if not isinstance(value, dict):
        return Record(number, {}, f"row {number} is a {type(value).__name__}, not an object", line)
    return Record(number, value, None, line)


def _batch_records(batch: pa.RecordBatch, first: int) -> Iterator[Record]:
    """Yields the records of a batch whose first row has the number ``first``."""
    try:
        values = batch.to_pylist()
    except ValueError:  # a string that is not UTF-8, or a date that Python does not have: find its row
        for at in range(len(batch)):
            yield _one_by_one(batch, at, first + at)
    else:
        for number, record in enumerate(values, start=first):
            yield Record(number, record)


def _one_by_one(batch: pa.RecordBatch, at: int, number: int) -> Record:
    values, fault = {}, None
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            values[name] = column[at].as_py()
        except ValueError as error:
            fault = f"row {number}: the column {name!r} cannot be read: {error}"
    return Record(number, values, fault)


@contextmanager
def _read_errors(source: Path) -> Iterator[None]:
    """Turns errors of Parquet into InvalidInput."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise InvalidInput(f"{source} cannot be read as Parquet: {error}") from error
