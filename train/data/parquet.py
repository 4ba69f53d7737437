"""Rows of Parquet files, a few at a time, and the pictures in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ziprerank.train.errors import TrainError

from .rows import Faults, json_rows

BATCH_ROWS = 16  # page images of 100 kB to 2 MB: some 10 MB at once
READ_BYTES = 1 << 20  # streams a column chunk instead of loading it; row groups of page sets have gigabytes


def parquet_columns(path: Path) -> list[str]:
    """Names of the file's columns.

    Raises:
        TrainError: the file cannot be read, or is not Parquet.
    """
    return list(_open(path).schema_arrow.names)


def parquet_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Stream ``("FILE row N", values by column)``, rows counted from 1.

    Args:
        columns: which to read; None reads all.

    Raises:
        TrainError: the file cannot be read, is not Parquet, is damaged, or lacks a column.
    """
    import pyarrow  # type: ignore[import-untyped]

    file = _open(path)
    names = file.schema_arrow.names
    missing = [column for column in columns or () if column not in names]
    if missing:
        raise TrainError(f"{path} has no column {', '.join(missing)}: it has {', '.join(names)}")
    number = 0
    try:
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=columns and list(columns)):
            for row in batch.to_pylist():
                number += 1
                yield f"{path} row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        raise TrainError(f"{path} is damaged after row {number}: {error}") from error


def data_rows(path: Path, faults: Faults | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """`parquet_rows` of a file that ends in ``.parquet``, `json_rows` of any other."""
    return parquet_rows(path) if path.suffix == ".parquet" else json_rows(path, faults)


def _open(path: Path) -> Any:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise TrainError(f"{path} needs pyarrow: pip install pyarrow") from error
    try:
        return parquet.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False)
    except (pyarrow.ArrowException, OSError) as error:
        raise TrainError(f"{path} cannot be read as Parquet: {error}") from error
