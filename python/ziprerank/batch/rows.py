"""The input of a batch job: rows of a query and its documents, read from a folder, a Parquet file or a JSONL file."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
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
    """Reads the rows of a job, a few hundred at a time.

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
        InvalidInput: The source cannot be read, or a row lacks a column or repeats an id; also while iterating.
    """
    if not source.exists():
        raise InvalidInput(f"{source}: no such file or folder")
    if source.is_dir():
        if not queries:
            raise InvalidInput(f"{source} is a folder: say what to look for in its files with --query or --queries")
        return _unique(_folder_rows(source, queries), source)
    if queries:
        raise InvalidInput(f"{source} holds its own queries: leave out --query and --queries, or pass a folder")
    if source.suffix not in (".parquet", ".jsonl"):
        raise InvalidInput(f"{source} is neither a folder nor a .parquet or .jsonl file")
    records = _parquet(source) if source.suffix == ".parquet" else _jsonl(source)
    names = columns or Columns()
    base = source.parent.absolute()
    return _unique((_row(record, names, base, f"{source}, row {at}") for at, record in records), source)


def grouped(rows: Iterable[Row]) -> Iterator[Group]:
    """Groups rows with the same documents and pages, among every 256 successive rows."""
    held: dict[tuple[tuple[Document, ...], str | None], list[Row]] = {}
    for count, row in enumerate(rows, start=1):
        held.setdefault((row.documents, row.pages), []).append(row)
        if count % _AT_ONCE == 0:
            yield from (Group(tuple(group)) for group in held.values())
            held.clear()
    yield from (Group(tuple(group)) for group in held.values())


def _folder_rows(folder: Path, queries: Sequence[str]) -> Iterator[Row]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise InvalidInput(f"{folder} holds no {', '.join(SUFFIXES)} file")
    for file in files:
        for query in queries:
            name = f"{file.relative_to(folder).as_posix()}#{hashlib.sha256(query.encode()).hexdigest()[:12]}"
            yield Row(name, query, (str(file.absolute()),))


def _parquet(source: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with pq.ParquetFile(source) as file:
            number = 0
            for batch in file.iter_batches(batch_size=_AT_ONCE):
                for record in batch.to_pylist():
                    number += 1
                    yield number, record
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


def _unique(rows: Iterable[Row], source: Path) -> Iterator[Row]:
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise InvalidInput(f"{source} has the row {row.id!r} twice: give every row its own id")
        seen.add(row.id)
        yield row
