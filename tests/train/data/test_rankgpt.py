"""RankGPT's pair of files, written by these tests, read back."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from ziprerank.train.data.rankgpt import read_rankgpt
from ziprerank.train.errors import TrainError


def _row(query: str, texts: list[str]) -> dict[str, Any]:
    passages = [{"docid": str(number), "text": text} for number, text in enumerate(texts)]
    return {"query": query, "positive_passages": passages[:1], "retrieved_passages": passages}


def _files(folder: Path, rows: list[dict[str, Any]], orders: object) -> tuple[Path, Path]:
    (folder / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "o.json").write_text(json.dumps(orders))
    return folder / "p.jsonl", folder / "o.json"


def test_the_two_files_together(tmp_path: Path) -> None:
    rng = random.Random(1)
    want = []
    for number in range(8):
        count = rng.randint(2, 20)
        want.append((f"q {number}", [f"text {rng.random()}" for _ in range(count)], rng.sample(range(count), count)))
    rows = [_row(query, texts) for query, texts, _ in want]
    orders = [" > ".join(f"[{index + 1}]" for index in order) for _, _, order in want]
    got = list(read_rankgpt(*_files(tmp_path, rows, orders)))
    assert [(e.query, list(e.passages), list(e.order)) for e in got] == want


@pytest.mark.parametrize(
    ("order", "message"),
    [("[1] > [3]", r"'order' is \[0, 2\]"), ("[B] > [A]", "must be numbers"), ("sorry", "must be numbers")],
)
def test_faulty_rows_keep_the_others_in_step(tmp_path: Path, order: str, message: str) -> None:
    rows = [_row("a", ["x", "y"]), _row("b", ["x", "y"]), _row("c", ["x", "y"])]
    files = _files(tmp_path, rows, ["[1] > [2]", order, "[2] > [1]"])
    with pytest.raises(TrainError, match=message) as raised:
        list(read_rankgpt(*files))
    assert str(raised.value).startswith(f"{files[0]} row 2: ")
    faults: list[TrainError] = []
    assert [(e.query, e.order) for e in read_rankgpt(*files, faults.append)] == [("a", (0, 1)), ("c", (1, 0))]
    assert len(faults) == 1


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    rows = [_row("a", ["x", "y"])] * 2
    for orders, message in ((["[1]"], "has 2 rows and"), (["[1]"] * 3, "has 2 rows and"), ({}, "a list of strings")):
        with pytest.raises(TrainError, match=message):
            list(read_rankgpt(*_files(tmp_path, rows, orders)))
    with pytest.raises(TrainError, match="'retrieved_passages' is None"):
        list(read_rankgpt(*_files(tmp_path, [{"query": "a"}], ["[1]"])))
