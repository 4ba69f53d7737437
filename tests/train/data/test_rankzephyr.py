"""RankZephyr's file, written by these tests in each of its public variants, read back."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from ziprerank.train.data import rows
from ziprerank.train.data.rankzephyr import read_rankzephyr
from ziprerank.train.errors import TrainError

SYSTEM = "You are RankLLM, an intelligent assistant that can rank passages based on their relevancy to the query."


def _row(name: str, query: str, passages: list[str], order: list[int], lettered: bool, roles: str) -> dict[str, Any]:
    """A row as the public sets have it; ``roles``: with a system turn, without one, or turns without their names."""
    labels = [chr(ord("A") + k) if lettered else str(k + 1) for k in range(len(passages))]
    count, kind = len(passages), "alphabetical" if lettered else "numerical"
    prompt = (
        f"I will provide you with {count} passages, each indicated by a {kind} identifier []. "
        f"Rank the passages based on their relevance to the search query: {query}.\n\n"
        + "\n".join(f"[{label}] {passage}" for label, passage in zip(labels, passages, strict=True))
        + f"\n\nSearch Query: {query}.\nRank the {count} passages above based on their relevance to the search query. "
        "All the passages should be included and listed using identifiers, in descending order of relevance. "
        "The output format should be [] > [], e.g., [4] > [2], Only respond with the ranking results, do not say any "
        "word or explain."
    )
    turns = [
        {"from": "system", "value": SYSTEM},
        {"from": "human", "value": prompt},
        {"from": "gpt", "value": " > ".join(f"[{labels[k]}]" for k in order)},
    ]
    if roles == "no system":
        turns = turns[1:]
    if roles == "unnamed":
        turns = [{"value": turn["value"]} for turn in turns]
    return {"id": name, "conversations": turns}


def _write(path: Path, data: list[dict[str, Any]], array: bool) -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(data), path)
        return path
    text = json.dumps(data) if array else "\n".join(json.dumps(row) for row in data) + "\n"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("lettered", [False, True])
@pytest.mark.parametrize("roles", ["system", "no system", "unnamed"])
@pytest.mark.parametrize("form", ["array", "lines", "parquet"])
def test_public_variants(tmp_path: Path, lettered: bool, roles: str, form: str) -> None:
    rng = random.Random(7)
    want = []
    for number in range(12):
        count = rng.randint(2, 20)
        passages = [f"Passage {k} é [{rng.randint(1, 20)}] cites ] > [ {rng.random()}" for k in range(count)]
        want.append((f"q{number}", f"what is {number}?", passages, rng.sample(range(count), count)))
    name = "train.parquet" if form == "parquet" else "train.json"
    file = _write(tmp_path / name, [_row(*item, lettered, roles) for item in want], form == "array")
    got = list(read_rankzephyr(file))
    assert [(e.id, e.query, list(e.passages), list(e.order)) for e in got] == want


def test_lines_of_a_passage_that_look_like_identifiers_stay_in_it(tmp_path: Path) -> None:
    passages = ["first\n[7] a citation\nSearch Query: not this one", "second\n\n[1] again", "third"]
    file = _write(tmp_path / "a.json", [_row("x", "U.S", passages, [2, 0], False, "system")], True)
    (example,) = read_rankzephyr(file)
    assert list(example.passages) == passages
    assert example.query == "U.S"
    assert example.order == (2, 0)  # a partial order is kept as it is


def test_large_arrays_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = [_row(f"q{k}", f"query {k}", [f"text {k} " * 50, "other"], [1, 0], False, "system") for k in range(40)]
    file = tmp_path / "a.json"
    file.write_text(json.dumps(data, indent=2))
    whole = [(e.id, e.passages) for e in read_rankzephyr(file)]
    assert [name for name, _ in whole] == [f"q{k}" for k in range(40)]
    for chunk in (1, 2, 7, 100):  # every place where a chunk can end
        monkeypatch.setattr(rows, "CHUNK", chunk)
        assert [(e.id, e.passages) for e in read_rankzephyr(file)] == whole


def _broken(change: str) -> dict[str, Any]:
    row = _row("bad", "q", ["one", "two", "three"], [2, 0, 1], False, "system")
    _, human, gpt = row["conversations"]
    if change == "order":
        gpt["value"] = "I think [2] > [1]"
    elif change == "twice":
        gpt["value"] = "[2] > [1] > [2]"
    elif change == "range":
        gpt["value"] = "[2] > [4]"
    elif change == "mixed":
        gpt["value"] = "[2] > [A]"
    elif change == "letters":
        gpt["value"] = "[B] > [A]"
    elif change == "count":
        human["value"] = human["value"].replace("Rank the 3 passages above", "Rank the 4 passages above")
    elif change == "query":
        human["value"] = human["value"].replace("\nSearch Query", "\nQuery")
    elif change == "empty":
        human["value"] = human["value"].replace("[2] two", "[2] ")
    elif change == "roles":
        human["from"] = "user"
    elif change == "messages":
        row = {"messages": []}
    return row


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("order", "the gpt turn is 'I think"),
        ("twice", "at most once"),
        ("range", r"'order' is \[1, 3\]"),
        ("mixed", "mixes numbers and letters"),
        ("letters", "0 passages with letters"),
        ("count", "3 passages with numbers in sequence, but 'Rank the 4"),
        ("query", "Search Query"),
        ("empty", "passage 1 is empty"),
        ("roles", "must be from system, human, gpt"),
        ("messages", "'conversations' is None"),
    ],
)
def test_faulty_rows_are_named_and_skipped_only_when_asked_to(tmp_path: Path, change: str, message: str) -> None:
    good = _row("good", "q", ["one", "two"], [1, 0], False, "system")
    file = _write(tmp_path / "a.jsonl", [good, _broken(change), good], False)
    with pytest.raises(TrainError, match=message) as raised:
        list(read_rankzephyr(file))
    assert str(raised.value).startswith(f"{file} row 2: ")
    faults: list[TrainError] = []
    assert [example.id for example in read_rankzephyr(file, faults.append)] == ["good", "good"]
    assert [str(fault) for fault in faults] == [str(raised.value)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ('[{"a": 1}', "row 1: followed by the end of the file"),
        ('[{"a": 1}, {"b": ', "row 2: is not JSON"),
        ('[{"a": 1} {"b": 2}]', "row 1: followed by '{'"),
        ('[{"a": 1}, 5]', "row 2: '5"),
        ('[{"a": 1}] trailing', "after the end of the array"),
        ('{"a": 1}\n{"b"', "row 2: is not JSON"),
        ('{"a": 1}\n[2]', r"row 2: is \[2\]"),
    ],
)
def test_torn_files_end_with_an_error(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(TrainError, match=message):
        list(rows.json_rows(file))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="cannot be read"):
        list(read_rankzephyr(tmp_path / "absent.json"))
    (tmp_path / "latin.json").write_bytes(b'{"a": "\xe9"}')
    with pytest.raises(TrainError, match="not UTF-8"):
        list(read_rankzephyr(tmp_path / "latin.json"))
