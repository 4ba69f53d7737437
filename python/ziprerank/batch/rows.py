"""The input of a batch job: rows of a query and its documents, read from a folder, a Parquet file or a JSONL file."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from ziprerank.errors import InvalidInput
from ziprerank.inputs.formats import SUFFIXES

Document: TypeAlias = "str | bytes"
"""The absolute path of a PDF or an image, or such a file's bytes."""

_AT_ONCE = 256  # rows that are read and grouped by document at a time


@dataclass(frozen=True, slots=True)
class Row:
    """A query and the documents whose pages are its candidates.

    Attributes:
        id: Unique name of the row.
        query: What to look for.
        documents: PDFs and images.
        pages: Page range of each PDF, such as ``"1-20"``; None is all.
        fault: Why the row cannot be ranked; None if it can.
    """

    id: str
    query: str
    documents: tuple[Document, ...]
    pages: str | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Rows with the same documents and page range, whose pages are prepared and encoded once."""

    rows: tuple[Row, ...]

    @property
    def documents(self) -> tuple[Document, ...]:
        return self.rows[0].documents

    @property
    def pages(self) -> str | None:
        return self.rows[0].pages


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns in a Parquet or JSONL file, which may lack ``id`` and ``pages``."""

    id: str = "id"
    query: str = "query"
    documents: str = "documents"
    pages: str = "pages"


def read_rows(source: Path, queries: Sequence[str] = (), columns: Columns | None = None) -> Iterator[Row]:
    """Reads the rows of a job, a few hundred at a time, after a first pass that checks their ids.

    A folder gives a row for each PDF or image below it and each of ``queries``. A ``.parquet`` or ``.jsonl`` file gives
    a row for each of its rows, which need a string ``query`` and ``documents``: a path (relative to the file's folder),
    bytes, ``{"path": ..., "bytes": ...}`` as in Hugging Face's image columns (in JSONL the bytes are base64), or a list
    of these. The id of a row without one is a digest of its content.

    Args:
        source: The folder or file.
        queries: The queries for a folder; a file has its own.
        columns: Names of the columns in a file; None is the defaults.

    Returns:
        The rows, with unique ids.

    Raises:
        InvalidInput: The source cannot be read, a row lacks a column, or two rows have the same id.
    """
    if not source.exists():
        raise InvalidInput(f"{source}: no such file or folder")
    if source.is_dir():
        if not queries:
            raise InvalidInput(f"{source} is a folder: say what to look for in its files with --query or --queries")
        files = _files_below(source)
        _check_ids(lambda: ((where, row.id) for where, row in _folder_rows(source, files, queries)), source)
        return (row for _, row in _folder_rows(source, files, queries))
    if queries:
        raise InvalidInput(f"{source} holds its own queries: leave out --query and --queries, or pass a folder")
    if source.suffix not in (".parquet", ".jsonl"):
        raise InvalidInput(f"{source} is neither a folder nor a .parquet or .jsonl file")
    if not source.is_file():
        raise InvalidInput(f"{source} is not a regular file, and rows are read twice: write them to a file")
    names = columns or Columns()
    _check_ids(lambda: _table_ids(source, names), source)
    return (row for _, row in _table_rows(source, names))


def grouped(rows: Iterable[Row]) -> Iterator[Group]:
    """Groups rows with the same documents and pages, among every 256 successive rows."""
    held: dict[tuple[tuple[Document, ...], str | None], list[Row]] = {}
    for count, row in enumerate(rows, start=1):
        held.setdefault((row.documents, row.pages), []).append(row)
        if count % _AT_ONCE == 0:
            yield from (Group(tuple(group)) for group in held.values())
            held.clear()
    yield from (Group(tuple(group)) for group in held.values())


def _files_below(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise InvalidInput(f"{folder} holds no {', '.join(SUFFIXES)} file")
    return files


def _folder_rows(folder: Path, files: Sequence[Path], queries: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """Yields each row with what an error calls it."""
    for file in files:
        inside = file.relative_to(folder).as_posix()
        for number, query in enumerate(queries, start=1):
            name = f"{inside}#{hashlib.sha256(query.encode()).hexdigest()[:12]}"
            yield f"query {number} of {inside}", Row(name, query, (str(file.absolute()),))


def _table_rows(source: Path, names: Columns) -> Iterator[tuple[str, Row]]:
    """Yields each row with what an error calls it."""
    records = _parquet(source) if source.suffix == ".parquet" else _jsonl(source)
    base = source.parent.absolute()
    for number, record in records:
        yield f"row {number}", _row(record, names, base, f"{source}, row {number}")


def _table_ids(source: Path, names: Columns) -> Iterator[tuple[str, str]]:
    """Yields what an error calls each row, and its id; reads only the ids of a Parquet file that has them all."""
    if source.suffix == ".parquet" and _has_all(source, names.id):
        return ((f"row {number}", str(record[names.id])) for number, record in _parquet(source, [names.id]))
    return ((where, row.id) for where, row in _table_rows(source, names))


def _has_all(source: Path, column: str) -> bool:
    """Whether every row of a Parquet file has a value in a column."""
    with _read_errors(source):
        if column not in pq.read_schema(source).names:
            return False
    return all(record[column] is not None for _, record in _parquet(source, [column]))


def _parquet(source: Path, columns: Sequence[str] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields numbered rows, with these columns or with all."""
    with _read_errors(source), pq.ParquetFile(source) as file:
        number = 0
        for batch in file.iter_batches(batch_size=_AT_ONCE, columns=columns):
            for record in batch.to_pylist():
                number += 1
                yield number, record


@contextmanager
def _read_errors(source: Path) -> Iterator[None]:
    """Turns errors of Parquet into InvalidInput."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise InvalidInput(f"{source} cannot be read as Parquet: {error}") from error


def _jsonl(source: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with source.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                raise InvalidInput(f"{source}, row {number} is not JSON: {error}") from None
            if not isinstance(record, dict):
                raise InvalidInput(f"{source}, row {number} is a {type(record).__name__}, not an object")
            yield number, record


def _row(record: dict[str, Any], names: Columns, base: Path, where: str) -> Row:
    for needed in (names.query, names.documents):
        if needed not in record:
            raise InvalidInput(f"{where} has no {needed!r}, only {', '.join(record)}: name the column by its option")
    query, pages, given = record[names.query], record.get(names.pages), record.get(names.id)
    fault: str | None = None
    documents: tuple[Document, ...] = ()
    try:
        documents = _documents(record[names.documents], base)
        if not isinstance(query, str):
            raise InvalidInput(f"the query has type {type(query).__name__}: give a string")
        if not (pages is None or isinstance(pages, str)):
            raise InvalidInput(f"pages has type {type(pages).__name__}: give a string such as '1-20'")
    except InvalidInput as error:
        fault, query, pages = str(error), query if isinstance(query, str) else "", None
    return Row(_digest(record, names) if given is None else str(given), query, documents, pages, fault)


def _documents(value: Any, base: Path) -> tuple[Document, ...]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise InvalidInput("the list of documents is empty")
    return tuple(_document(one, base) for one in values)


def _document(value: Any, base: Path) -> Document:
    if isinstance(value, dict):
        data = value.get("bytes")
        if isinstance(data, str):
            try:
                return base64.b64decode(data, validate=True)
            except binascii.Error as error:
                raise InvalidInput(f"a document's bytes are not base64: {error}") from None
        value = value.get("path") if data is None else data
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return str(base / value)
    raise InvalidInput(f"a document has type {type(value).__name__}: give a path, bytes, or a list of these")


def _digest(record: dict[str, Any], names: Columns) -> str:
    content = [record.get(names.query), record.get(names.documents), record.get(names.pages)]
    return hashlib.sha256(json.dumps(content, default=_bytes_digest).encode()).hexdigest()[:24]


def _bytes_digest(value: object) -> str:
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else repr(value)


def _check_ids(ids: Callable[[], Iterator[tuple[str, str]]], source: Path) -> None:
    """Reads all rows, keeping 16 bytes of each id, so that no row is ranked in a job that would have to stop.

    Args:
        ids: Begins a pass over what an error calls each row, and its id.
        source: The input, for errors.

    Raises:
        InvalidInput: Two rows have the same id.
    """
    seen: set[bytes] = set()
    for where, name in ids():
        digest = _id_digest(name)
        if digest in seen:
            first = next(other for other, same in ids() if same == name)
            raise InvalidInput(f"{source}: {first} and {where} have the same id {name!r}: give every row its own id")
        seen.add(digest)


def _id_digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
