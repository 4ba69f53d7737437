"""MMDocIR's Parquet files and the distilled rankings, written by these tests column by column, read back."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from ziprerank.train.data.mmdocir import page_path, read_mmdocir, unpack_pages, wanted_pages
from ziprerank.train.errors import TrainError

DOCUMENTS = ("papers/a b.pdf", "papers_a b.pdf", "ü" * 120)  # two that sanitise alike, one too long for a file name


def _jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def _pages() -> list[tuple[str, int, bytes]]:
    return [(document, page, _jpeg(37 * k + page)) for k, document in enumerate(DOCUMENTS) for page in range(14)]


def _parquet(path: Path, form: str, pages: list[tuple[str, int, bytes]]) -> Path:
    """The training set's own columns (``bytes``), ZipRerank's images.parquet (``struct``), or paths beside the file."""
    names = ["file_name", "page"] if form != "struct" else ["doc_name", "page_id"]
    columns: dict[str, Any] = {names[0]: [p[0] for p in pages], names[1]: pa.array([p[1] for p in pages], pa.int64())}
    if form == "bytes":
        columns["image"] = pa.array([p[2] for p in pages], pa.binary())
        columns["page_size"] = [[32, 24]] * len(pages)
        columns["layouts"] = ["[]"] * len(pages)
    elif form == "struct":
        columns["image"] = [{"bytes": p[2], "path": None} for p in pages]
    else:
        for number, page in enumerate(pages):
            (path.parent / f"{number}.jpg").write_bytes(page[2])
        columns["image"] = [f"{number}.jpg" for number in range(len(pages))]
    parquet.write_table(pa.table(columns), path, row_group_size=10)
    return path


def _ranking(rng: random.Random, number: int, count: int) -> dict[str, Any]:
    candidates = rng.sample(range(14), count)
    order = rng.sample(range(count), count)
    return {
        "query_id": number,
        "query": f"question {number}",
        "doc_name": rng.choice(DOCUMENTS),
        "domain": "ArxivQA",
        "candidate_page_ids": candidates,
        "gt_page_ids": rng.sample(range(14), 2),
        "neg_page_ids": [],
        "openai_ranking": order,
        "ranked_page_ids": [candidates[k] for k in order],
        "openai_response": "",
        "first_stage_scores": [0.5] * count,
    }


@pytest.mark.parametrize("form", ["bytes", "struct", "path"])
@pytest.mark.parametrize("rankings_form", ["jsonl", "json", "parquet"])
def test_examples_from_the_public_files(tmp_path: Path, form: str, rankings_form: str) -> None:
    pages = _pages()
    source = _parquet(tmp_path / "ArxivQA_filter.parquet", form, pages)
    rng = random.Random(3)
    rows = [_ranking(rng, k, rng.randint(2, 14)) for k in range(12)]
    rankings = tmp_path / f"training_data.{rankings_form}"
    if rankings_form == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), rankings)
    else:
        lines = [json.dumps(row) for row in rows]
        rankings.write_text("\n".join(lines) if rankings_form == "jsonl" else f"[{', '.join(lines)}]")
    folder = tmp_path / "pages"
    assert unpack_pages([source], folder) == len(pages)
    pixels = {(document, page): data for document, page, data in pages}
    examples = list(read_mmdocir(rankings, folder))
    assert len(examples) == len(rows)
    for example, row in zip(examples, rows, strict=True):
        kept = row["candidate_page_ids"][:10]
        assert (example.id, example.query, example.document) == (
            f"ArxivQA/{row['query_id']}",
            row["query"],
            row["doc_name"],
        )
        assert [ref.path.read_bytes() for ref in example.pages] == [pixels[row["doc_name"], page] for page in kept]
        assert [kept[k] for k in example.order] == [page for page in row["ranked_page_ids"] if page in kept]
        assert {kept[k] for k in example.truths} == set(row["gt_page_ids"]) & set(kept)


def test_only_wanted_pages_are_unpacked_and_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    source = _parquet(tmp_path / "DUDE_filter.parquet", "bytes", _pages())
    rankings = tmp_path / "r.jsonl"
    rankings.write_text(json.dumps(_ranking(random.Random(1), 0, 14)))
    wanted = wanted_pages(rankings)
    assert len(wanted) == 10
    folder = tmp_path / "pages"
    first = sorted(wanted)[0]
    assert unpack_pages([source], folder, {first}) == 1
    stamp = page_path(folder, first).stat().st_mtime_ns
    assert unpack_pages([source], folder, wanted) == 9
    assert page_path(folder, first).stat().st_mtime_ns == stamp
    assert sorted(p.suffix for p in folder.rglob("*") if p.is_file()) == [".image"] * 10  # no temporary file is left
    assert len(list(read_mmdocir(rankings, folder))) == 1


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("query", None, "'query' is None"),
        ("openai_ranking", [0, 0, 1], r"'openai_ranking' is \[0, 0, 1\]"),
        ("openai_ranking", [3], r"name each of 0\.\.2"),
        ("ranked_page_ids", [1, 2, 3], "'ranked_page_ids' is"),
        ("candidate_page_ids", [4], "1 candidates: a ranking needs at least 2"),
        ("candidate_page_ids", [4, 4], "name each page once"),
        ("candidate_page_ids", ["4", "5"], "give a list of integers"),
        ("gt_page_ids", None, "'gt_page_ids' is None"),
        ("doc_name", "other", "page 1 of 'other' is not in"),
    ],
)
def test_faulty_rankings_are_named(tmp_path: Path, field: str, value: object, message: str) -> None:
    folder = tmp_path / "pages"
    unpack_pages([_parquet(tmp_path / "p.parquet", "bytes", _pages())], folder)
    good = {
        "query_id": 1,
        "query": "q",
        "doc_name": DOCUMENTS[0],
        "candidate_page_ids": [1, 2, 3],
        "gt_page_ids": [2],
        "openai_ranking": [2, 0, 1],
    }
    rankings = tmp_path / "r.jsonl"
    rankings.write_text("\n".join(json.dumps(row) for row in (good, {**good, field: value}, good)))
    with pytest.raises(TrainError, match=message) as raised:
        list(read_mmdocir(rankings, folder))
    assert str(raised.value).startswith(f"{rankings} row 2: ")
    faults: list[TrainError] = []
    assert len(list(read_mmdocir(rankings, folder, faults=faults.append))) == 2
    assert len(faults) == 1


def test_faulty_pages_are_named(tmp_path: Path) -> None:
    pages = _pages()[:4]
    pages[2] = (pages[2][0], pages[2][1], b"no image")
    source = _parquet(tmp_path / "p.parquet", "bytes", pages)
    with pytest.raises(TrainError, match=r"p.parquet row 3: 'image' holds 8 bytes that are no image"):
        unpack_pages([source], tmp_path / "a")
    faults: list[TrainError] = []
    assert unpack_pages([source], tmp_path / "b", faults=faults.append) == 3
    assert len(faults) == 1


def test_faulty_files_are_named(tmp_path: Path) -> None:
    torn = _parquet(tmp_path / "torn.parquet", "bytes", _pages())
    torn.write_bytes(torn.read_bytes()[:-100])
    with pytest.raises(TrainError, match=r"torn.parquet cannot be read as Parquet"):
        unpack_pages([torn], tmp_path / "pages")
    parquet.write_table(pa.table({"file_name": ["a"], "text": ["b"]}), tmp_path / "other.parquet")
    with pytest.raises(TrainError, match="has columns file_name, text: pages need file_name, page and image"):
        unpack_pages([tmp_path / "other.parquet"], tmp_path / "pages")
    parquet.write_table(pa.table({"file_name": ["a"], "page": ["0"], "image": [_jpeg(0)]}), tmp_path / "text.parquet")
    with pytest.raises(TrainError, match="'page' is '0': give an integer"):
        unpack_pages([tmp_path / "text.parquet"], tmp_path / "pages")


def test_a_folder_that_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    folder.write_text("a file where the folder should be")
    faults: list[TrainError] = []
    with pytest.raises(TrainError, match="cannot be written"):  # raised though faults may be skipped
        unpack_pages([_parquet(tmp_path / "p.parquet", "bytes", _pages()[:1])], folder, faults=faults.append)
    assert not faults
