"""Tests of what an input table may hold, and what is rejected before anything is ranked."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ziprerank.batch.rows import Columns, Text, grouped, read_rows
from ziprerank.errors import InvalidInput


def table(folder: Path, *records: object) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records) + "\n")
    return path


def test_documents_of_every_shape(tmp_path: Path) -> None:
    data = base64.b64encode(b"%PDF-").decode()
    shapes = ["a.pdf", {"path": "a.pdf"}, {"bytes": data}, ["/b.png", {"bytes": data, "path": "no matter"}]]
    source = table(tmp_path, *({"query": "q", "documents": shape} for shape in shapes))
    rows = list(read_rows(source))
    here = str(tmp_path / "a.pdf")
    assert [row.documents for row in rows] == [(here,), (here,), (b"%PDF-",), ("/b.png", b"%PDF-")]
    assert [row.fault for row in rows] == [None] * 4
    assert len({row.id for row in rows}) == 4
    assert [row.id for row in read_rows(source)] == [row.id for row in rows]  # an id does not depend on the run


def test_texts_alone_and_beside_pages(tmp_path: Path) -> None:
    data = base64.b64encode(b"%PDF-").decode()
    shapes = [
        [{"text": "w"}, {"path": "a.pdf", "text": "w"}],
        {"bytes": data, "text": "w"},
        {"text": None, "path": "b"},
    ]
    rows = list(read_rows(table(tmp_path, *({"query": "q", "documents": shape} for shape in shapes))))
    here = str(tmp_path / "a.pdf")
    assert [row.documents for row in rows] == [
        (Text("w"), Text("w", here)),
        (Text("w", b"%PDF-"),),
        (str(tmp_path / "b"),),
    ]
    assert len({row.digest for row in rows}) == 3


@pytest.mark.parametrize(
    ("documents", "fault"),
    [
        ({"text": 7}, "a document's text has type int"),
        ({"text": "half \ud83d"}, "the text 'half"),
        ([], "the list of documents is empty"),
        (7, "a document has type int"),
        (None, "a document has type NoneType"),
        ({"bytes": "?"}, "not base64"),
        ({"url": "https://example.com"}, "a document has type NoneType"),
    ],
)
def test_a_row_that_cannot_be_ranked_is_kept_with_its_fault(tmp_path: Path, documents: object, fault: str) -> None:
    (row,) = read_rows(table(tmp_path, {"id": 5, "query": "q", "documents": documents}))
    assert row.id == "5"
    assert row.fault is not None
    assert fault in row.fault


def test_columns_by_other_names(tmp_path: Path) -> None:
    source = table(tmp_path, {"key": "k", "text": "q", "file": "a.pdf", "range": "1-2"})
    (row,) = read_rows(source, columns=Columns("key", "text", "file", "range"))
    assert (row.id, row.query, row.pages) == ("k", "q", "1-2")
    with pytest.raises(InvalidInput, match="no row has 'query', only key, text, file, range"):
        list(read_rows(source))


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([{"id": "a", "query": "q", "documents": "x"}] * 2, "row 1 and row 2 have the same id 'a'"),
        ([{"query": "q", "documents": "x"}] * 2, "row 1 and row 2 have the same id"),
        ([{"id": 1, "query": "q", "documents": "x"}, {"id": "1", "query": "p", "documents": "y"}], "row 1 and row 2"),
        ([["a"]], "row 1 is a list"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, records: list[object], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        read_rows(table(tmp_path, *records))


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("given", [True, False])
def test_an_id_far_down_that_is_there_already(tmp_path: Path, kind: str, *, given: bool) -> None:
    """Both rows are named before any row is read for ranking."""
    records = [{"query": f"q{at}", "documents": "a.pdf"} | ({"id": f"i{at}"} if given else {}) for at in range(700)]
    records[601] = dict(records[2])
    source = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(records), source)
    else:
        table(tmp_path, *records)
    with pytest.raises(InvalidInput, match=rf"rows\.{kind}: row 3 and row 602 have the same id"):
        read_rows(source)


def test_given_and_missing_ids_in_one_parquet_file(tmp_path: Path) -> None:
    source = tmp_path / "rows.parquet"
    records = [{"id": name, "query": "q", "documents": "a.pdf"} for name in ("a", None, "b")]
    pq.write_table(pa.Table.from_pylist(records), source)
    assert [row.id for row in read_rows(source)][::2] == ["a", "b"]
    pq.write_table(pa.Table.from_pylist([*records, {**records[1]}]), source)
    with pytest.raises(InvalidInput, match="row 2 and row 4 have the same id"):
        read_rows(source)


def test_a_query_given_twice_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").touch()
    assert [row.query for row in read_rows(tmp_path, ["x", "y"])] == ["x", "y"]
    with pytest.raises(InvalidInput, match=r"query 1 of a\.pdf and query 3 of a\.pdf have the same id"):
        read_rows(tmp_path, ["x", "y", "x"])


def test_folders_that_links_point_to_are_read_once(tmp_path: Path) -> None:
    below, elsewhere = tmp_path / "in" / "z" / "deep", tmp_path / "elsewhere"
    for folder, name in ((below, "a.pdf"), (elsewhere, "b.pdf")):
        folder.mkdir(parents=True)
        (folder / name).touch()
    (tmp_path / "in" / "a").symlink_to(below)  # twice in the folder: it counts where it is
    (below / "circle").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "linked").symlink_to(elsewhere)
    (elsewhere / "link.pdf").symlink_to(below / "a.pdf")
    names = [row.id.partition("#")[0] for row in read_rows(tmp_path / "in", ["q"])]
    assert names == ["linked/b.pdf", "linked/link.pdf", "z/deep/a.pdf"]


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    """Rows are read twice, which a pipe does not allow; without a writer it would be waited for, too."""
    os.mkfifo(tmp_path / "rows.jsonl")
    with pytest.raises(InvalidInput, match="not a regular file, and rows are read twice"):
        read_rows(tmp_path / "rows.jsonl")


def test_sources_that_are_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1")
    for source, queries, told in (
        (tmp_path / "none.jsonl", [], "no such file"),
        (tmp_path, [], "is a folder: say what"),
        (table(tmp_path), ["q"], "holds its own queries"),
        (broken, [], "cannot be read as Parquet"),
    ):
        with pytest.raises(InvalidInput, match=told):
            list(read_rows(source, queries))


def test_rows_are_grouped_by_document_and_pages(tmp_path: Path) -> None:
    rows = [
        {"query": query, "documents": name, "pages": pages}
        for query in "xyz"
        for name, pages in (("a", None), ("b", None), ("a", "1"))
    ]
    groups = list(grouped(read_rows(table(tmp_path, *rows))))
    assert [[row.query for row in group.rows] for group in groups] == [["x", "y", "z"]] * 3
    assert len({(group.documents, group.pages) for group in groups}) == 3
