"""Pictures of several pages: each has an id in TREC's form, and elsewhere no order is made of more than the ids."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from eval_data import page_image, write_vidore
from PIL import Image
from typer.testing import CliRunner
from ziprerank.bundle import Bundle
from ziprerank.cli.app import app
from ziprerank.errors import InvalidInput, PageError
from ziprerank.evaluation.formats import read_data
from ziprerank.evaluation.systems import candidates
from ziprerank.inputs.pages import open_pages
from ziprerank.inputs.workers.limits import PageLimits

TEXTS = ("a whale", "the board", "a bird")
SAMPLE = Path(__file__).parents[2] / "python" / "examples" / "sample.pdf"


def tiff(*texts: str) -> bytes:
    first, *others = (Image.open(io.BytesIO(page_image(text, "PNG"))) for text in texts)
    file = io.BytesIO()
    first.save(file, "TIFF", save_all=True, append_images=others)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A TIFF of three pages, one of one page, one that is damaged, a PNG that is called a TIFF, and a JPEG."""
    documents = tmp_path / "data" / "documents"
    documents.mkdir(parents=True)
    (documents / "fax.tif").write_bytes(tiff(*TEXTS))
    (documents / "letter.TIFF").write_bytes(tiff("a letter"))
    (documents / "broken.tiff").write_bytes(tiff(*TEXTS)[:60])
    (documents / "named.tif").write_bytes(page_image("a stone", "PNG"))
    (documents / "photo.jpg").write_bytes(page_image("a river"))
    (tmp_path / "data" / "queries.tsv").write_text("q1\tthe board\n", encoding="utf-8")
    (tmp_path / "data" / "qrels.txt").write_text("q1 0 fax:2 1\n", encoding="utf-8")
    return tmp_path / "data"


def test_each_page_of_a_tiff_in_the_folder_has_an_id(folder: Path) -> None:
    data = read_data(folder)
    assert data.pool(None) == ["broken", "fax:1", "fax:2", "fax:3", "letter", "named", "photo"]
    pages = ["fax:3", "photo", "fax:1", "fax:2", "letter", "named"]
    texts = (TEXTS[2], "a river", TEXTS[0], TEXTS[1], "a letter", "a stone")
    with open_pages(data.inputs(pages), Bundle.load().image) as sources:
        for source, text in zip(sources, texts, strict=True):
            with Image.open(io.BytesIO(page_image(text, "JPEG" if text == "a river" else "PNG"))) as drawn:
                assert np.array_equal(source.picture(256), drawn)
    with pytest.raises(InvalidInput, match=r"fax\.tif is a picture, which has no text"):
        data.texts(["fax:2"])


def test_a_table_may_name_the_page_of_a_tiff(folder: Path) -> None:
    lines = ("two\tdocuments/fax.tif\t2\n", "photo\tdocuments/photo.jpg\n", "whole\tdocuments/letter.TIFF\n")
    (folder / "documents.tsv").write_text("".join(lines), encoding="utf-8")
    data = read_data(folder)
    with open_pages(data.inputs(["photo", "two", "whole"]), Bundle.load().image) as sources:
        assert [source.page for source in sources] == [None, 2, 1]
    (folder / "documents.tsv").write_text("two\tdocuments/fax.tif\t0\n", encoding="utf-8")
    with pytest.raises(InvalidInput, match="must be a page from 1"):
        read_data(folder)


@pytest.mark.parametrize("stored", [tiff(*TEXTS), SAMPLE.read_bytes()], ids=["tiff", "pdf"])
def test_a_picture_of_several_pages_is_a_bad_page(folder: Path, stored: bytes) -> None:
    """By its content, whatever it is called."""
    (folder / "documents" / "photo.jpg").write_bytes(stored)
    data, rules, limits = read_data(folder), Bundle.load().image, PageLimits()
    pages = ["letter", "photo", "fax:2"]
    with (
        pytest.raises(
            PageError, match=r"candidate 1 \(.*\): it has (3|18) pages, and a candidate is one page"
        ) as caught,
        open_pages(candidates(data, pages, rules, "raise", limits), rules, "raise"),
    ):
        pass
    assert caught.value.index == 1
    with open_pages(candidates(data, pages, rules, "skip", limits), rules, "skip") as sources:
        assert [source.page for source in sources] == [1, None, 2]


@pytest.mark.parametrize("on_bad_page", ["raise", "skip"])
def test_no_order_is_written_that_is_not_one_of_the_ids(on_bad_page: str, bundle: Path, tmp_path: Path) -> None:
    corpus = [(0, page_image("a river")), (1, tiff(*TEXTS)), (2, page_image("the board"))]
    queries = [(0, "where is the board?", "english"), (1, "where is the river?", "english")]
    top_ranked = {0: [1, 0, 2], 1: [2, 0]}
    data = write_vidore(tmp_path / "data", corpus, queries, [(0, 2, 1), (1, 0, 1)], hyphens=True, top_ranked=top_ranked)
    out = tmp_path / "out"
    command = ["eval", *map(str, (data, out, "--bundle", bundle, "--on-bad-page", on_bad_page))]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    lines = (out / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    first, second = (next(iter(json.loads(line)["systems"].values())) for line in lines)
    assert sorted(second["order"]) == [0, 1]
    if on_bad_page == "raise":
        assert first["fault"] == "1: it has 3 pages, and a candidate is one page: give each of them an id of its own"
        assert first["order"] == []
    else:
        assert sorted(first["order"]) == [1, 2]
        assert list(first["skipped"]) == ["1"]
