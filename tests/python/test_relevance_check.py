"""``ziprerank verify BUNDLE DATA``: whether late interaction ranks whole documents, written into the manifest."""

from __future__ import annotations

import json
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pdf_files import drawn_pdf
from reportlab.pdfgen.canvas import Canvas
from typer.testing import CliRunner
from ziprerank.bundle import Bundle
from ziprerank.cli.app import app
from ziprerank.cli.relevance_check import LEAST_QUERIES
from ziprerank.inputs.pages import open_pages
from ziprerank.reranker import Reranker

PAGES = 24
QUERIES = ("soup of the day", "engine and garden", "violin music", "the glacier in winter", "census of copper")


def document() -> bytes:
    def draw(canvas: Canvas, page: int) -> None:
        canvas.setFont("Helvetica", 12 + page)
        for line in range(1 + page % 5):
            canvas.drawString(20, 350 - 40 * line, f"{QUERIES[(page + line) % 5]} {page}")

    return drawn_pdf(partial(draw, page=page) for page in range(PAGES))


@pytest.fixture
def bundle(small_pages: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_pages, tmp_path / "bundle"))


@pytest.fixture(scope="module")
def orders(reranker: Reranker) -> dict[str, list[int]]:
    """The pages of the document for each query, the most relevant first, from windows of one page each."""
    scores: dict[str, list[float]] = {query: [] for query in QUERIES}
    with open_pages(document(), reranker.bundle.image) as sources:
        for source in sources:
            window = reranker.engine.window([source.size])
            window.encode(0, source.prepare())
            for query, found in scores.items():
                ids = reranker.prompts.query_tokens(reranker.prompts.check_query(query))
                found.extend(window.relate(ids).tolist())  # type: ignore[attr-defined]
            window.close()
    assert min(np.ptp(found) for found in scores.values()) > 0.01
    return {query: [int(page) for page in np.argsort(-np.array(found))] for query, found in scores.items()}


def data(folder: Path, orders: dict[str, list[int]], rank: int, count: int) -> Path:
    """``count`` questions, whose right pages have this rank but for one in ten, where it is the last."""
    folder.mkdir()
    (folder / "manual.pdf").write_bytes(document())
    lines = []
    for number in range(count):
        query = QUERIES[number % 5]
        page = orders[query][-1 if number % 10 == 0 else rank]
        lines.append(json.dumps({"query": query, "document": "manual.pdf", "page": page}) + "\n")
    (folder / "queries.jsonl").write_text("".join(lines))
    return folder


@pytest.mark.parametrize(("rank", "recall"), [(0, 0.9), (19, 0.9), (20, 0.0)])
def test_what_is_found_is_written_into_the_manifest(
    bundle: Path, tmp_path: Path, orders: dict[str, list[int]], rank: int, recall: float
) -> None:
    before = json.loads((bundle / "ziprerank.json").read_text())
    folder = data(tmp_path / "manuals", orders, rank, LEAST_QUERIES)
    done = CliRunner().invoke(app, ["verify", str(bundle), str(folder), "--threads", "1", "--json"])
    assert done.exit_code == 0, done.output
    after = json.loads((bundle / "ziprerank.json").read_text())
    found = after.pop("relevance")
    assert after == {key: value for key, value in before.items() if key != "relevance"}
    assert json.loads(done.stdout) == found
    assert found.pop("date")
    wanted = {"data": "manuals", "queries": LEAST_QUERIES, "pages": PAGES, "recall@20": recall, "ranks": recall >= 0.9}
    assert found == wanted
    assert Bundle.load(bundle).defaults.relevance_ranks is (recall >= 0.9)


def test_too_few_questions_say_nothing(bundle: Path, tmp_path: Path, orders: dict[str, list[int]]) -> None:
    before = (bundle / "ziprerank.json").read_bytes()
    folder = data(tmp_path / "manuals", orders, 0, LEAST_QUERIES - 1)
    done = CliRunner().invoke(app, ["verify", str(bundle), str(folder)])
    assert done.exit_code != 0
    assert (bundle / "ziprerank.json").read_bytes() == before


def test_the_extras_that_it_needs_are_named(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "queries.jsonl").touch()
    monkeypatch.setitem(sys.modules, "ziprerank.cli.relevance_check", None)
    done = CliRunner().invoke(app, ["verify", str(bundle), str(tmp_path / "data")])
    assert done.exit_code == 1
    assert 'pip install "ziprerank[export,eval]"' in done.output
