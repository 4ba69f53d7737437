"""A very long document against 20 of its pages: what is joined, and what a row compares."""

from __future__ import annotations

import json
from pathlib import Path

import pypdfium2 as pdfium  # type: ignore[import-untyped]
import pytest
from pdf_files import words_pdf
from small_bundle import copy_default_bundle

from bench.long_report import long_documents
from bench.quality import long
from bench.quality.documents import DOCUMENTS
from bench.quality.queries import Query
from bench.report import read

PAGES = 64


def asked(document: str, page: int) -> Query:
    begin = min(page, 20)
    return Query(document, f"page{page} words", "title", page, tuple(range(begin, begin + 20)))


FIRST, SECOND = (document.name for document in DOCUMENTS[:2])


@pytest.fixture(autouse=True)
def small_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any file is a manual, and there are six queries."""
    monkeypatch.setattr(long, "located", lambda folder, name: folder / name)
    queries = [asked(name, page) for name in (FIRST, SECOND) for page in (0, 3, 39)]
    monkeypatch.setattr(long, "read_queries", lambda _: queries)


@pytest.fixture(scope="module")
def manuals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stand-ins for the manuals, of 40 pages each but under their names."""
    folder = tmp_path_factory.mktemp("manuals")
    for number, document in enumerate(DOCUMENTS):
        pages = (f"manual{number} page{page} words" for page in range(40))
        (folder / document.name).write_bytes(words_pdf(pages))
    return folder


def test_manuals_are_joined_and_their_queries_moved(manuals: Path, tmp_path: Path) -> None:
    out = tmp_path / "long.pdf"
    queries = long.joined(manuals, PAGES, out)
    wanted = [asked(FIRST, page) for page in (0, 3, 39)]
    moved = [(query.query, query.page + 40, tuple(40 + place for place in query.candidates)) for query in wanted[:2]]
    found = [(query.query, query.page, query.candidates) for query in queries]
    # the second one is cut before page 39
    assert found == [*((query.query, query.page, query.candidates) for query in wanted), *moved]
    with pdfium.PdfDocument(out) as joined:
        assert len(joined) == PAGES
        assert "manual1 page0 words" in joined[40].get_textpage().get_text_bounded()


def test_more_pages_than_there_are_are_refused(manuals: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=f"have {40 * len(DOCUMENTS)} pages, fewer than 900"):
        long.joined(manuals, 900, tmp_path / "long.pdf")


@pytest.mark.parametrize("case", long.STAGES)
def test_a_row_has_ratios_and_memory_and_no_times(manuals: Path, tmp_path: Path, case: str) -> None:
    bundle = copy_default_bundle(tmp_path / "small", 192, min_pixels=1024, dpi=None)
    out = tmp_path / "rows.jsonl"
    given = [str(out), "--documents", str(manuals), "--case", case, "--pages", str(PAGES), "--bundle", str(bundle)]
    kept = {"case": case, "pages": PAGES + 1}
    out.write_text("".join(f"{json.dumps(old)}\n" for old in ({"case": case, "pages": PAGES, "n": 99}, kept)))
    long.main([*given, "--queries", "3"])
    first, row = map(json.loads, out.read_text().splitlines())
    assert first == kept
    assert row["bundle_id"] == json.loads((bundle / "ziprerank.json").read_text())["bundle_id"][:12]
    assert (row["case"], row["pages"], row["n"], row["stage"]) == (case, PAGES, 3, long.STAGES[case])
    assert {"first_to_fresh", "first_to_same", "next_to_fresh", "next_to_same"} <= row.keys()
    assert not any("ms" in name for name in row)
    assert all(10 < held < 4096 for held in row["peak_mib"].values())


def test_rows_of_two_bundles_are_not_put_into_one_table() -> None:
    text, scans = ({**row, "bundle_id": "a" * 12} for row in read("long_cpu.jsonl"))
    assert "scanned pages" in long_documents([text, scans])
    for other in ({**scans, "bundle_id": "b" * 12}, {name: scans[name] for name in scans if name != "bundle_id"}):
        with pytest.raises(ValueError, match=r"rows of 2 bundles, at most 1 in a table: 1 of aaaaaaaaaaaa, 1 of"):
            long_documents([text, other])
