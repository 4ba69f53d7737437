"""Equal pages are left out, so that every system does the same work."""

from __future__ import annotations

from pathlib import Path

import pytest
from reportlab.pdfgen.canvas import Canvas
from ziprerank.bundle import Bundle
from ziprerank.comparison.cases import Case, distinct_pages


@pytest.fixture
def pdf(tmp_path: Path) -> Path:
    file = tmp_path / "pages.pdf"
    canvas = Canvas(str(file), pagesize=(288, 288))
    for text in ("one", "one", "two", "", "", "three"):
        canvas.drawString(40, 140, text)
        canvas.showPage()
    canvas.save()
    return file


def test_equal_pages_count_once(pdf: Path) -> None:
    bundle = Bundle.load(check="size")
    assert distinct_pages(pdf, bundle, 3) == (1, 3, 4)
    assert distinct_pages(pdf, bundle, 4) == (1, 3, 4, 6)
    with pytest.raises(SystemExit, match="4 distinct pages, 5 are needed"):
        distinct_pages(pdf, bundle, 5)


@pytest.mark.parametrize(("pages", "starts"), [(1, (0,)), (20, (0,)), (21, (1, 0)), (50, (30, 20, 10, 0))])
def test_all_pages_in_one_pass_up_to_20(pdf: Path, pages: int, starts: tuple[int, ...]) -> None:
    case = Case(pdf, "query", tuple(range(1, pages + 1)), Bundle.load(check="size"))
    assert case.plan.starts == starts
    assert case.plan.width == min(pages, 20)
