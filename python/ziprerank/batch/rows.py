"""The input of a batch job: rows of a query and its documents, read from a folder, a Parquet file or a JSONL file."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ziprerank.batch.records import AT_ONCE, Record, jsonl_records, parquet_columns, parquet_records
from ziprerank.errors import InvalidInput
from ziprerank.inputs.formats import SUFFIXES


@dataclass(frozen=True, slots=True)
class Text:
    """A document's text, for bundles whose prompt has a place for it.

    Attributes:
        text: What is read.
        page: The absolute path or the bytes of the page that it stands behind; None is a text alone.
    """

    text: str
    page: str | bytes | None = None


Document: TypeAlias = "str | bytes | Text"
"""The absolute path of a PDF or an image, such a file's bytes, or a text alone or beside one of these."""

BadRows = Literal["keep", "refuse"]
"""What happens to rows that no engine is needed to refuse: ``"keep"`` gives each an output row with its error,
``"refuse"`` ends the job before the first row is ranked."""


@dataclass(frozen=True, slots=True)
class Row:
    """A query and the documents whose pages are its candidates.

    Attributes:
        id: Unique name of the row.
        query: What to look for.
        documents: PDFs and images.
        pages: Page range of each PDF, such as ``"1-20"``; None is all.
        fault: Why the row cannot be ranked; None if it can.
        digest: Of the query, the documents as the input names them, and the pages: tells whether the row has changed.
    """

    id: str
    query: str
    documents: tuple[Document, ...]
    pages: str | None = None
    fault: str | None = None
    digest: str = ""


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


def read_rows(
    source: Path, queries: Sequence[str] = (), columns: Columns | None = None, bad_rows: BadRows = "keep"
) -> Iterable[Row]:
    """Reads the rows of a job, a few hundred at a time, after a first pass that checks them.

    A folder gives a row for each PDF or image below it and each of ``queries``. A ``.parquet`` or ``.jsonl`` file gives
    a row for each of its rows, which need a string ``query`` and ``documents``: a path (relative to the file's folder),
    bytes, ``{"path": ..., "bytes": ...}`` as in Hugging Face's image columns (in JSONL the bytes are base64), or a list
    of these. With ``"text"`` such an object is a text beside a page, or alone. The id of a row without one is a digest
    of its content.

    A row that is damaged, lacks a column or holds a value of another kind has a ``fault``. Lone surrogates are such a
    fault, since no output can hold them; ``printable`` writes them.

    Args:
        source: The folder or file.
        queries: The queries for a folder; a file has its own.
        columns: Names of the columns in a file; None is the defaults.
        bad_rows: Whether rows with a fault are kept or refused.

    Returns:
        The rows, with unique ids; every iteration reads them again.

    Raises:
        InvalidInput: The source cannot be read, no row has a column that is needed, two rows have the same id, or a row
            has a fault and ``bad_rows`` is ``"refuse"``.
    """
    if not source.exists():
        raise InvalidInput(f"{source}: no such file or folder")
    names = columns or Columns()
    if source.is_dir():
        if not queries:
            raise InvalidInput(f"{source} is a folder: say what to look for in its files with --query or --queries")
        files = _files_below(source)
        rows = _Rows(lambda: _folder_rows(source, files, queries))
    else:
        if queries:
            raise InvalidInput(f"{source} holds its own queries: leave out --query and --queries, or pass a folder")
        _check_table(source, names)
        rows = _Rows(lambda: _table_rows(source, names))
    if bad_rows == "refuse":
        _refuse_faults(rows, source)
    _check_ids(rows.ids if source.is_dir() else lambda: _table_ids(source, names, rows), source)
    return rows


@dataclass(frozen=True)
class _Rows(Iterable[Row]):
    """Rows that can be read again and again; ``named`` begins a pass over what an error calls each row, and the row."""

    named: Callable[[], Iterator[tuple[str, Row]]]

    def __iter__(self) -> Iterator[Row]:
        return (row for _, row in self.named())

    def ids(self) -> Iterator[tuple[str, str]]:
        return ((where, row.id) for where, row in self.named())


def grouped(rows: Iterable[Row]) -> Iterator[Group]:
    """Groups rows with the same documents and pages, among every 256 successive rows."""
    held: dict[tuple[tuple[Document, ...], str | None], list[Row]] = {}
    for count, row in enumerate(rows, start=1):
        held.setdefault((row.documents, row.pages), []).append(row)
        if count % AT_ONCE == 0:
            yield from (Group(tuple(group)) for group in held.values())
            held.clear()
    yield from (Group(tuple(group)) for group in held.values())


def printable(text: str) -> str:
    """Returns text that UTF-8 can hold, with a backslash, a ``u`` and four digits for a lone surrogate."""
    return text.encode("utf-8", "backslashreplace").decode()


def _files_below(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise InvalidInput(f"{folder} cannot be read: {error}") from error

    files, starts, seen = list[Path](), [folder], set[tuple[int, int]]()
    while starts:  # folders that links point to come after those that are there
        for root, folders, names in os.walk(starts.pop(0), onerror=refuse):
            here = Path(root).stat()
            if (here.st_dev, here.st_ino) in seen:
                folders.clear()
                continue
            seen.add((here.st_dev, here.st_ino))
            starts += (path for name in folders if (path := Path(root, name)).is_symlink())
            files += (path for name in names if (path := Path(root, name)).suffix.lower() in SUFFIXES)
    files.sort()
    if not files:
        raise InvalidInput(f"{folder} holds no {', '.join(SUFFIXES)} file")
    return files


def _folder_rows(folder: Path, files: Sequence[Path], queries: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """Yields each row with what an error calls it."""
    for file in files:
        inside = file.relative_to(folder).as_posix()
        path = str(file.absolute())
        for number, query in enumerate(queries, start=1):
            name = f"{inside}#{_sha256(query.encode('utf-8', 'surrogatepass'))[:12]}"
            fault: str | None = None
            try:
                _check_text(path, "the path")
                _check_text(query, "the query")
            except InvalidInput as error:
                fault = str(error)
            documents = () if fault else (path,)
            digest = _sha256(json.dumps([query, inside, None]).encode())
            yield f"query {number} of {inside}", Row(printable(name), printable(query), documents, None, fault, digest)


def _check_table(source: Path, names: Columns) -> None:
    """Raises InvalidInput for what is no table, and for one in which no row has a column that is needed."""
    if source.suffix not in (".parquet", ".jsonl"):
        raise InvalidInput(f"{source} is neither a folder nor a .parquet or .jsonl file")
    if not source.is_file():
        raise InvalidInput(f"{source} is not a regular file, and rows are read twice: write them to a file")
    found: dict[str, None] = {}
    if source.suffix == ".parquet":
        found = dict.fromkeys(parquet_columns(source))
    else:
        fault: str | None = None
        for record in jsonl_records(source):
            found.update(dict.fromkeys(record.values))
            if names.query in found and names.documents in found:
                return
            fault = fault or record.fault
        if not found and fault is not None:
            raise InvalidInput(f"{source}: no line is a JSON object: {fault}")
        if not found:
            return
    for needed in (names.query, names.documents):
        if needed not in found:
            told = ", ".join(map(printable, found))
            raise InvalidInput(f"{source}: no row has {needed!r}, only {told}: name the column by its option")


def _table_rows(source: Path, names: Columns) -> Iterator[tuple[str, Row]]:
    """Yields each row with what an error calls it."""
    base = source.parent.absolute()
    faulty: Counter[str] = Counter()  # derived ids: two lines may be broken in the same way
    for record in _records(source, names):
        row = _row(record, names, base)
        if row.fault is not None and row.id == row.digest[:_ID]:
            faulty[row.id] += 1
            if faulty[row.id] > 1:
                row = replace(row, id=f"{row.id}-{faulty[row.id]}")
        yield f"row {record.number}", row


def _records(source: Path, names: Columns) -> Iterator[Record]:
    if source.suffix == ".jsonl":
        return jsonl_records(source)
    present = parquet_columns(source)
    return parquet_records(
        source, [name for name in (names.id, names.query, names.documents, names.pages) if name in present]
    )


def _table_ids(source: Path, names: Columns, rows: _Rows) -> Iterator[tuple[str, str]]:
    """Yields what an error calls each row, and its id; reads only the ids of a Parquet file that has them all."""
    if source.suffix == ".parquet" and _has_all(source, names.id):
        records = parquet_records(source, [names.id])
        return ((f"row {record.number}", printable(str(record.values[names.id]))) for record in records)
    return rows.ids()


def _has_all(source: Path, column: str) -> bool:
    """Whether every row of a Parquet file has a value in a column."""
    if column not in parquet_columns(source):
        return False
    return all(record.values.get(column) is not None for record in parquet_records(source, [column]))


_ID = 24  # hexadecimal digits of the digest that is a row's id


def _row(record: Record, names: Columns, base: Path) -> Row:
    values = record.values
    query, pages, given = values.get(names.query), values.get(names.pages), values.get(names.id)
    documents: tuple[Document, ...] = ()
    name: str | None = None
    fault: str | None = None
    try:
        digest = _digest(record, names)
        name = None if given is None else str(given)
        if record.fault is not None:
            raise InvalidInput(record.fault)
        for needed in (names.query, names.documents):
            if needed not in values:
                raise InvalidInput(f"row {record.number} has no {needed!r}, only {', '.join(values)}")
        if name is not None:
            _check_text(name, "the id")
        documents = _documents(values[names.documents], base)
        if not isinstance(query, str):
            raise InvalidInput(f"the query has type {type(query).__name__}: give a string")
        _check_text(query, "the query")
        if not (pages is None or isinstance(pages, str)):
            raise InvalidInput(f"pages has type {type(pages).__name__}: give a string such as '1-20'")
        _check_text(pages or "", "pages")
    except RecursionError:
        fault, digest = f"row {record.number} is nested too deeply", _sha256(record.raw)
    except InvalidInput as error:
        fault = printable(str(error))
    if fault is not None:
        query, pages = printable(query) if isinstance(query, str) else "", None
    return Row(digest[:_ID] if name is None else printable(name), query or "", documents, pages, fault, digest)


def _check_text(text: str, what: str) -> None:
    """Raises InvalidInput for text with a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        told = f"{what} {printable(text[:200])!r} is not valid text: the character at {error.start} is half of a pair"
        raise InvalidInput(f"{told} (a lone surrogate): {'rename the file' if 'path' in what else 'mend it'}") from None


def _documents(value: Any, base: Path) -> tuple[Document, ...]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise InvalidInput("the list of documents is empty")
    return tuple(_document(one, base) for one in values)


def _document(value: Any, base: Path) -> Document:
    if not isinstance(value, dict) or value.get("text") is None:
        return _file(value, base)
    text = value["text"]
    if not isinstance(text, str):
        raise InvalidInput(f"a document's text has type {type(text).__name__}: give a string")
    _check_text(text, "the text")
    if value.get("path") is None and value.get("bytes") is None:
        return Text(text)
    return Text(text, _file(value, base))


def _file(value: Any, base: Path) -> str | bytes:
    if isinstance(value, dict):
        data = value.get("bytes")
        if isinstance(data, str):
            try:
                return base64.b64decode(data, validate=True)
            except ValueError as error:  # also for characters outside ASCII
                raise InvalidInput(f"a document's bytes are not base64: {error}") from None
        value = value.get("path") if data is None else data
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        path = str(base / value)
        _check_text(path, "the path")
        return path
    raise InvalidInput(f"a document has type {type(value).__name__}: give a path, bytes, or a list of these")


def _digest(record: Record, names: Columns) -> str:
    """SHA-256 of what the row asks for; of a row that could not be read, of all that is known of it."""
    if record.fault is not None and record.raw:
        return _sha256(record.raw)
    content = [record.values.get(name) for name in (names.query, names.documents, names.pages)]
    if record.fault is not None:
        content.append(record.fault.partition(":")[2])
    return _sha256(json.dumps(content, default=_bytes_digest).encode())


def _bytes_digest(value: object) -> str:
    return _sha256(value) if isinstance(value, bytes) else repr(value)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _refuse_faults(rows: _Rows, source: Path) -> None:
    """Raises InvalidInput if a row has a fault, with the first one and the number of all."""
    first, count = "", 0
    for where, row in rows.named():
        if row.fault is not None:
            first = first or (row.fault if row.fault.startswith(where) else f"{where}: {row.fault}")
            count += 1
    if count:
        told = "1 row cannot" if count == 1 else f"{count:,} rows cannot"
        raise InvalidInput(f"{source}: {told} be ranked, the first is {first} (--bad-rows keep writes their errors)")


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
