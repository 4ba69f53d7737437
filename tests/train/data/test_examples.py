"""Examples are checked when made, and survive the way to a file and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ziprerank.train.data.examples import (
    ListwiseExample,
    PageExample,
    PageRef,
    listwise_row,
    page_row,
    read_listwise,
    read_pages,
)
from ziprerank.train.errors import TrainError


def test_listwise_there_and_back(tmp_path: Path) -> None:
    examples = [
        ListwiseExample("wörld", ("a\nb", "c", "d"), (2, 0), "x"),
        ListwiseExample("q", ("only",), (0,), "y"),
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(listwise_row(example)) + "\n" for example in examples))
    assert list(read_listwise(tmp_path / "a.jsonl")) == examples


def test_pages_there_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    example = PageExample("q", "doc", (PageRef(Path("sub/a.png")), PageRef(tmp_path / "b.pdf", 3)), (1,), (1, 0), "z")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.jsonl").write_text(json.dumps(page_row(example)))
    (got,) = read_pages(tmp_path / "out" / "a.jsonl")
    assert got.pages == (PageRef(tmp_path / "sub/a.png"), PageRef(tmp_path / "b.pdf", 3))
    assert (got.query, got.document, got.truths, got.order, got.id) == ("q", "doc", (1,), (1, 0), "z")


def test_relative_paths_in_a_file_are_relative_to_it(tmp_path: Path) -> None:
    row = {"query": "q", "document": "d", "pages": ["a.png", ["b.pdf", 0]], "truths": [], "order": []}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    (got,) = read_pages(tmp_path / "a.jsonl")
    assert got.pages == (PageRef(tmp_path / "a.png"), PageRef(tmp_path / "b.pdf", 0))
    assert got.id == f"{tmp_path / 'a.jsonl'} row 1"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query": " "}, "the query is empty"),
        ({"passages": []}, r"0 candidates: an example has 1\.\.20"),
        ({"passages": ["p"] * 21}, "21 candidates"),
        ({"passages": ["p", " "]}, "passage 1 is empty"),
        ({"passages": "p"}, "give a list of strings"),
        ({"order": [0, 2]}, r"'order' is \[0, 2\]: name each of the candidates 0\.\.1"),
        ({"order": [1, 1]}, "at most once"),
        ({"order": [True]}, "give a list of integers"),
    ],
)
def test_faulty_rows(tmp_path: Path, row: dict[str, object], message: str) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"query": "q", "passages": ["p", "r"], "order": [0], **row}))
    with pytest.raises(TrainError, match=message):
        list(read_listwise(tmp_path / "a.jsonl"))


def test_page_rows_with_faults(tmp_path: Path) -> None:
    good = {"query": "q", "document": "d", "pages": ["a.png"], "truths": [0], "order": []}
    bad = [{**good, "pages": [["b.pdf"]]}, {**good, "pages": [["b.pdf", -1]]}, {**good, "truths": [1]}]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in [good, *bad]))
    faults: list[TrainError] = []
    assert len(list(read_pages(tmp_path / "a.jsonl", faults.append))) == 1
    assert len(faults) == 3
    for number, (fault, message) in enumerate(
        zip(faults, ("a page is", "pages are numbered from 0", "'truths' is"), strict=True), 2
    ):
        assert f"row {number}: " in str(fault)
        assert message in str(fault)
