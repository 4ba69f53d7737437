"""Tests that a row that is damaged costs itself alone, however it is damaged."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from batch_job import Job, rows_of
from ziprerank.batch.rows import read_rows
from ziprerank.errors import InvalidInput

Command = Callable[..., "Popen[str]"]

HALF = "\ud83d"  # of a pair of surrogates, as a text cut between them ends
BAD = {
    "query": json.dumps({"id": "query", "query": f"dividend {HALF}", "documents": "0-0.pdf"}),
    "id\\ud83d": json.dumps({"id": f"id{HALF}", "query": "dividend", "documents": "0-0.pdf"}),
    "path": json.dumps({"id": "path", "query": "dividend", "documents": f"{HALF}.pdf"}),
    "pages": json.dumps({"id": "pages", "query": "dividend", "documents": "0-0.pdf", "pages": HALF}),
    "lacks": json.dumps({"id": "lacks", "query": "dividend"}),
    "deep": '{"id": "deep", "query": "dividend", "documents": ' + "[" * 700 + "]" * 700 + "}",
    "pipe": json.dumps({"id": "pipe", "query": "dividend", "documents": "pipe.pdf"}),
    "folder": json.dumps({"id": "folder", "query": "dividend", "documents": "."}),
    "null": json.dumps({"id": "null", "query": "dividend", "documents": "a\0b.pdf"}),
}
NAMELESS = [
    '{"query": "cut o',
    '{"query": "cut o',
    "[" * 100_000,
    '{"query": "dividend"}',
    '{"query": "dividend"}',
    "7",
]


def test_bad_rows_beside_good_ones(job: Job, bundle_path: Path, command: Command, tmp_path: Path) -> None:
    """One run writes a row for each; the next has nothing to do."""
    (tmp_path / "0-0.pdf").write_bytes((job.table.parent / "0-0.pdf").read_bytes())
    os.mkfifo(tmp_path / "pipe.pdf")
    good = [json.dumps({"id": f"good {at}", "query": "dividend", "documents": "0-0.pdf"}) for at in range(2)]
    lines = [good[0], *BAD.values(), *NAMELESS, good[1]]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    arguments = (tmp_path / "rows.jsonl", tmp_path / "out", "--bundle", bundle_path, "--threads", 1)
    process = command(*arguments)
    told, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    bad = len(BAD) + len(NAMELESS)
    assert f"{bad + 2} rows, {bad + 2} of them ranked now, {bad} with an error" in told
    rows = {row["id"]: row for row in rows_of(tmp_path / "out")}
    assert len(rows) == bad + 2
    assert [rows[f"good {at}"]["error"] for at in range(2)] == [None, None]
    assert all(rows[name]["error"] for name in BAD)
    assert "half of a pair" in rows["path"]["error"]
    assert "not a regular file" in rows["pipe"]["error"]
    assert rows["lacks"]["error"] == "row 6 has no 'documents', only id, query"
    told, errors = command(*arguments).communicate(timeout=120)
    assert f"{bad + 2} rows, 0 of them ranked now" in told, errors


def test_bad_rows_may_be_refused(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text('{"query": "a", "documents": "x"}\n{"query": "b"\n{"query": "c"}\n')
    assert [row.fault is None for row in read_rows(source)] == [True, False, False]
    with pytest.raises(InvalidInput, match="2 rows cannot be ranked, the first is row 2 is not JSON"):
        read_rows(source, bad_rows="refuse")


@pytest.mark.parametrize("text", ["PAR1 this is no JSON\n\n", "[1]\n[2]\n"])
def test_a_file_without_any_row_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(InvalidInput, match=r"no line is a JSON object: row 1"):
        read_rows(tmp_path / "rows.jsonl")


def test_text_in_parquet_that_is_not_utf8(tmp_path: Path) -> None:
    query = pa.array([b"good", b"caf\xe9", b"caf\xe9"]).cast(pa.binary())
    columns = pa.StringArray.from_buffers(3, *query.buffers()[1:]), pa.array(["a.pdf"] * 3)
    pq.write_table(pa.table(list(columns), ["query", "documents"]), tmp_path / "rows.parquet")
    rows = list(read_rows(tmp_path / "rows.parquet"))
    assert [row.query for row in rows] == ["good", "", ""]
    assert rows[0].fault is None
    assert "row 2: the column 'query' cannot be read" in (rows[1].fault or "")
    assert len({row.id for row in rows}) == 3


def test_other_columns_are_not_read(tmp_path: Path) -> None:
    """Python has no year 290,000; nobody asked for that column."""
    when = pa.array([2**62, 0], pa.timestamp("us"))
    columns = [pa.array(["a", "b"]), pa.array(["a.pdf"] * 2), when]
    pq.write_table(pa.table(columns, ["query", "documents", "when"]), tmp_path / "rows.parquet")
    assert [row.fault for row in read_rows(tmp_path / "rows.parquet")] == [None, None]


def test_files_of_a_folder(tmp_path: Path) -> None:
    """A name that is not UTF-8, and a pipe, are rows too."""
    for name in (b"a.pdf", b"caf\xe9.pdf"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    os.mkfifo(tmp_path / "pipe.pdf")
    rows = {row.id.partition("#")[0]: row.fault for row in read_rows(tmp_path, ["q"])}
    assert list(rows) == ["a.pdf", "caf\\udce9.pdf", "pipe.pdf"]
    assert "rename the file" in (rows["caf\\udce9.pdf"] or "")
    assert rows["a.pdf"] is rows["pipe.pdf"] is None
