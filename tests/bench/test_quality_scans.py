"""Scans of the sample PDF: the same pages, askew, grey and noisy, and the same files every time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium
import pytest

from bench.quality.queries import Query, write_queries
from bench.quality.run import main as run
from bench.quality.scans import Scan, draw_scan, main, render, scan_page

SAMPLE = Path(__file__).parents[2] / "python" / "examples"
CANDIDATES = (4, 9, 16, 1)
QUERY = Query("sample.pdf", "whale bird rats biologist", "keywords", 16, CANDIDATES)
PLAIN = Scan(dpi=150, skew=0, bleed=0, paper=240, fall_off=0, side=0, blur=0.3, noise=0, quality=75)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    write_queries(folder / "asked.jsonl", [QUERY])
    main([str(folder / "scans"), "--documents", str(SAMPLE), "--queries", str(folder / "asked.jsonl")])
    return folder


def test_a_scan_has_the_pages_that_are_ranked_and_no_text(scans: Path) -> None:
    with (
        pdfium.PdfDocument(SAMPLE / "sample.pdf") as pages,
        pdfium.PdfDocument(scans / "scans" / "sample.pdf") as scanned,
    ):
        assert len(scanned) == len(pages)
        for number in range(len(pages)):
            assert scanned.get_page_size(number) == pytest.approx(pages.get_page_size(number))
            assert not scanned[number].get_textpage().get_text_range()
            ink = 255 - render(pages, number, 36).astype(float)
            shown = 255 - render(scanned, number, 36).astype(float)
            if number in CANDIDATES:
                assert np.corrcoef(_coarse(ink), _coarse(shown))[0, 1] > 0.8
            else:
                assert not shown.any()


def _coarse(ink: np.ndarray) -> np.ndarray:
    """Means of squares of 12 pixels, flat: a page a degree askew still looks alike."""
    height, width = (side // 12 * 12 for side in ink.shape)
    return ink[:height, :width].reshape(height // 12, 12, width // 12, 12).mean((1, 3)).ravel()


def test_pages_are_scanned_differently_and_always_the_same_way() -> None:
    drawn = [draw_scan("sample.pdf", page) for page in range(40)]
    assert drawn == [draw_scan("sample.pdf", page) for page in range(40)]
    assert {scan.dpi for scan in drawn} == {150, 200}
    assert len({scan.skew for scan in drawn}) == 40
    assert all(abs(scan.skew) <= 1.5 for scan in drawn)
    assert draw_scan("other.pdf", 0) != drawn[0]


def test_what_each_setting_does() -> None:
    front = np.full((300, 200), 255, np.uint8)
    front[100:110, 20:180] = 0
    back = np.full((300, 200), 255, np.uint8)
    back[:, :60] = 0

    plain = scan_page(front, None, PLAIN, [0])
    assert plain.shape == front.shape
    assert plain[0, 0] == 240
    assert plain[105, 100] < 20

    shining = scan_page(front, back, replace(PLAIN, bleed=0.1), [0])
    assert shining[200, 190] == pytest.approx(240 * 0.9, abs=2)  # the mirrored page's ink is on the other side
    assert shining[200, 10] == 240

    darker = scan_page(front, None, replace(PLAIN, fall_off=20, side=1), [0])
    assert (darker[0, 0], darker[-1, 0]) == (240, 220)

    noisy = scan_page(front, None, replace(PLAIN, noise=5), [0])
    assert noisy[150:].astype(float).std() == pytest.approx(5, rel=0.1)
    assert (noisy == scan_page(front, None, replace(PLAIN, noise=5), [0])).all()
    assert (noisy != scan_page(front, None, replace(PLAIN, noise=5), [1])).any()

    askew = scan_page(front, None, replace(PLAIN, skew=1.5), [0]) < 120
    left, right = (int(np.nonzero(askew[:, column])[0].mean()) for column in (30, 170))
    assert left - right == pytest.approx(140 * np.tan(np.radians(1.5)), abs=1)


def test_scans_are_ranked_and_rows_say_so(scans: Path) -> None:
    options = ["--documents", str(SAMPLE), "--queries", str(scans / "asked.jsonl"), "--keep-ratio", "0.5"]
    run([str(scans / "rows.jsonl"), *options, "--scans", str(scans / "scans")])
    rows = [json.loads(line) for line in (scans / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["pages"] for row in rows} == {"scanned"}
    (row,) = (row for row in rows if row["system"] == "ziprerank" and (row["document"], row["kind"]) == ("all", "all"))
    assert row["n"] == 1

    with pytest.raises(SystemExit, match=r"holds no scan of sample\.pdf"):
        run([str(scans / "rows.jsonl"), *options, "--scans", str(scans)])
