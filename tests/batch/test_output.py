"""Tests of the output folder: what a job finds there, what changed since, and disks that cannot be written."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from batch_job import rows_of
from ziprerank.batch.job import Summary, run_job
from ziprerank.batch.parts import Format, Output
from ziprerank.batch.ranking import Done, error_rows
from ziprerank.batch.rows import Group, read_rows
from ziprerank.errors import InvalidInput


def run(groups: Iterable[Group]) -> Iterator[Done]:
    """Ranks nothing: each row has the pages that were asked for as its error."""
    for group in groups:
        for row in group.rows:
            yield Done(error_rows([row], row.pages or "all"))


def ranked(folder: Path, rows: list[dict[str, str]], kind: Format = "parquet", *, rerank: bool = False) -> Summary:
    """Runs the job of ``rows`` into ``folder / "out"``, with a part for every two rows."""
    source = folder / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Output(folder / "out", {}, kind=kind, part_rows=2) as output:
        return run_job(read_rows(source), output, run, rerank_changed=rerank)


ROWS = [{"id": str(at), "query": "q", "documents": "a.pdf", "pages": "1"} for at in range(5)]


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize("change", [{"query": "other"}, {"documents": "b.pdf"}, {"pages": "2"}])
def test_rows_that_changed(tmp_path: Path, kind: Format, change: dict[str, str]) -> None:
    """They are refused, or ranked again; the others are left alone."""
    assert ranked(tmp_path, ROWS, kind) == Summary(5, 5, 5)
    changed = [ROWS[0], ROWS[1] | change, *ROWS[2:]]
    with pytest.raises(InvalidInput, match=r"documents or pages of 1 row changed .*\('1'\)"):
        ranked(tmp_path, changed, kind)
    assert rows_of(tmp_path / "out")[1]["query"] == "q"
    assert ranked(tmp_path, changed, kind, rerank=True) == Summary(5, 1, 5)
    row = rows_of(tmp_path / "out")[1]
    assert (row["query"], row["documents"], row["error"]) == (
        change.get("query", "q"),
        [str(tmp_path / change.get("documents", "a.pdf"))],
        change.get("pages", "1"),
    )
    assert ranked(tmp_path, changed, kind) == Summary(5, 0, 5)


def test_other_columns_and_another_place_are_no_change(tmp_path: Path) -> None:
    ranked(tmp_path, ROWS)
    tmp_path.rename(tmp_path.with_name("moved"))
    moved = tmp_path.with_name("moved")
    assert ranked(moved, [row | {"note": "new"} for row in reversed(ROWS)]) == Summary(5, 0, 5)


def test_rows_that_the_input_does_not_have_any_more(tmp_path: Path) -> None:
    ranked(tmp_path, ROWS)
    assert ranked(tmp_path, ROWS[2:]) == Summary(5, 0, 5, left=2)


@pytest.mark.parametrize("text", [b"", b'{"format": "par', b"[]", b"\xff", b"[" * 100_000])
def test_a_damaged_record_of_the_job(tmp_path: Path, text: bytes) -> None:
    ranked(tmp_path, ROWS)
    (tmp_path / "out" / "_job.json").write_bytes(text)
    with pytest.raises(InvalidInput, match=r"_job\.json.* is damaged"):
        ranked(tmp_path, ROWS)


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.99])
def test_a_cut_part(tmp_path: Path, kind: Format, share: float) -> None:
    """It is named, and once it is removed its rows are ranked again."""
    ranked(tmp_path, ROWS, kind)
    part = tmp_path / "out" / f"part-000001.{kind}"
    part.write_bytes(part.read_bytes()[: int(part.stat().st_size * share)])
    if kind == "parquet" or share:
        with pytest.raises(InvalidInput, match=r"part-000001\.\w+ is damaged or no part of this job"):
            ranked(tmp_path, ROWS, kind)
        part.unlink()
    assert ranked(tmp_path, ROWS, kind) == Summary(5, 2, 5)


@pytest.mark.parametrize("line", ["7", "{}", '{"id": 1}', "[" * 100_000, "\ud800"])
def test_a_part_with_lines_of_something_else(tmp_path: Path, line: str) -> None:
    ranked(tmp_path, ROWS, "jsonl")
    (tmp_path / "out" / "part-000001.jsonl").write_bytes(line.encode("utf-8", "surrogatepass"))
    with pytest.raises(InvalidInput, match=r"part-000001\.jsonl is damaged or no part of this job"):
        ranked(tmp_path, ROWS, "jsonl")


def test_files_that_are_no_parts_of_the_job(tmp_path: Path) -> None:
    ranked(tmp_path, ROWS)
    stranger = tmp_path / "out" / "part-x.parquet"
    stranger.touch()
    with pytest.raises(InvalidInput, match=r"part-x\.parquet is no part of this job"):
        ranked(tmp_path, ROWS)
    stranger.unlink()
    first = tmp_path / "out" / "part-000000.parquet"
    first.with_name("part-000009.parquet").write_bytes(first.read_bytes())
    with pytest.raises(InvalidInput, match=r"part-000009\.parquet holds the row '0' once more"):
        ranked(tmp_path, ROWS)


@pytest.mark.parametrize("kind", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_disk_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int) -> None:
    """The error says so, at the start or in the middle; rows from before are kept, and no draft is."""
    real = os.fsync

    def fail(_: int) -> None:
        raise OSError(kind, os.strerror(kind))

    def full_after_a_part(file: int) -> None:
        if (tmp_path / "out" / "part-000000.parquet").exists():
            monkeypatch.setattr(os, "fsync", fail)
        real(file)

    monkeypatch.setattr(os, "fsync", full_after_a_part)
    with pytest.raises(InvalidInput, match=rf"part-000001\.parquet cannot be written: .*{os.strerror(kind)}"):
        ranked(tmp_path, ROWS)
    with pytest.raises(InvalidInput, match=r"_job\.json cannot be written"):
        ranked(tmp_path, ROWS)
    monkeypatch.setattr(os, "fsync", real)
    assert not list((tmp_path / "out").glob("*.draft"))
    assert ranked(tmp_path, ROWS) == Summary(5, 3, 5)
