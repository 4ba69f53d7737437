"""PDFs with faults of real files: what is lost is said, what others repair is repaired, one bad page costs one page."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from corpus.pdfs import BAD_THIRD_PAGES, BROKEN, LOST, NOT_LOST, ODD_BOXES, XFA, five_pages, one_page
from page_images import RULES, refusal
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas
from ziprerank.bundle import ImageRules
from ziprerank.errors import InvalidInput
from ziprerank.inputs import fonts
from ziprerank.inputs.bad_pages import BadPage
from ziprerank.inputs.drawn_scripts import scripts_with_fonts
from ziprerank.inputs.pages import Pdf, PdfPage, open_pages
from ziprerank.inputs.pdf_password import password_bytes, saslprep
from ziprerank.inputs.workers.limits import PageLimits

DRAWN = {name for name, drawn in scripts_with_fonts().items() if drawn}


def prepared(page: object) -> list[tuple[np.ndarray, tuple[str, ...]]]:
    with open_pages(page, RULES) as sources:  # type: ignore[arg-type]
        return [tuple(source.read()) for source in sources]  # type: ignore[misc]


def ink(pixels: np.ndarray) -> int:
    return int((pixels.min(axis=2) < 128).sum())


@pytest.mark.parametrize("kind", LOST)
def test_lost_text_is_said(kind: str) -> None:
    if DRAWN & {"Chinese, simplified", "Chinese, traditional", "Japanese", "Korean"}:
        pytest.skip("this machine has fonts for the text of these pages")
    ((_, warnings),) = prepared(LOST[kind])
    assert len(warnings) == 1
    assert warnings[0].startswith("text is missing: ")
    assert "are neither in the PDF nor on this machine" in warnings[0]


def test_a_warning_counts_the_characters_and_names_the_font() -> None:
    ((pixels, (warning,)),) = prepared(LOST["Cyrillic"])
    assert ink(pixels) == 0
    assert "4 of the page's 4 characters are not drawn (Cyrillic), because their fonts (Arial)" in warning
    ((pixels, (warning,)),) = prepared(LOST["beside Latin words"])
    assert ink(pixels) > 500
    assert "6 of the page's 24 characters are not drawn" in warning
    assert "(MS-Mincho)" in warning


@pytest.mark.parametrize("kind", NOT_LOST)
def test_no_alarm_about_text_that_is_not_meant_to_be_seen(kind: str) -> None:
    ((_, warnings),) = prepared(NOT_LOST[kind])
    assert warnings == ()


def test_no_alarm_about_the_sample(sample: Path) -> None:
    assert not any(warnings for _, warnings in prepared(sample))


def test_folders_of_fonts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_configured", False)
    monkeypatch.setenv("ZIPRERANK_FONTS", str(tmp_path / "none"))
    with pytest.raises(InvalidInput, match="is no folder: correct or unset the variable"):
        fonts.use_font_folders()
    monkeypatch.setenv("ZIPRERANK_FONTS", str(tmp_path))
    with open_pages(one_page(), RULES, limits=PageLimits("off")) as (source,):
        source.prepare()  # before the variable was looked at
        monkeypatch.setattr(fonts, "_configured", False)
        with pytest.warns(RuntimeWarning, match="has no effect, because PDFs are open"):
            fonts.use_font_folders()


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_mended(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.pdf"
    path.write_bytes(BROKEN[kind])
    whole = [ink(pixels) for pixels, _ in prepared(five_pages())]
    for given in (path, BROKEN[kind], Pdf(path), Pdf(BROKEN[kind], "1-5")):
        pages = prepared(given)
        assert [ink(pixels) for pixels, _ in pages] == whole
        told = {warnings for _, warnings in pages}
        assert len(told) == 1
        if kind != "a wrong startxref":  # which PDFium mends by itself
            ((warning,),) = told
            assert "its pages were searched for, and some may be missing" in warning


@pytest.mark.parametrize(("entries", "points"), ODD_BOXES.items())
def test_odd_boxes_are_shown(entries: str, points: tuple[float, float]) -> None:
    with open_pages(five_pages(entries), RULES) as sources:
        third = sources[2]
        assert isinstance(third, PdfPage)
        assert third.points == points
        shown = ink(third.prepare())
        if points in ((792, 612), (612, 792)):
            assert shown > 500


def test_a_unit_counts_where_pages_have_a_resolution() -> None:
    rules = ImageRules(patch_size=16, merge_size=2, min_pixels=4096, max_pixels=1 << 24, longest_side=1024, dpi=72)
    for unit, size in (("", (224, 96)), ("/UserUnit 2", (416, 192))):
        with open_pages(one_page(page=f"/MediaBox [0 0 100 210] {unit}"), rules) as (source,):
            assert source.size == size


@pytest.mark.parametrize(("third", "reason"), BAD_THIRD_PAGES.items())
def test_one_bad_page_costs_one_page(third: str, reason: str) -> None:
    data = five_pages(third)
    assert reason in refusal(data)
    with open_pages([data, five_pages()], RULES, "skip") as sources:
        (bad,) = [source for source in sources if isinstance(source, BadPage)]
        good = [source.prepare() for source in sources if source is not bad]
    assert f"candidate {sources.index(bad)} (" in str(bad.error)
    assert len(good) == 9
    assert all(ink(one) > 500 for one in good)


def test_an_xfa_form_is_said_in_our_words(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        ((pixels, warnings),) = prepared(XFA)
    assert warnings == ("the PDF is an XFA form, which is not filled in: its static pages are ranked",)
    assert ink(pixels) > 500
    assert not any("XFA" in record.getMessage() for record in caplog.records)


def locked(password: bytes) -> bytes:
    stream = io.BytesIO()
    canvas = Canvas(stream, encrypt=StandardEncryption(password, ownerPassword=b"of the owner", strength=128))
    canvas.drawString(72, 700, "Invoice total amount")
    canvas.save()
    return stream.getvalue()


@pytest.mark.parametrize(
    ("stored", "given"),
    [
        (b"secret", "secret"),
        (b"file 1", "ﬁle\u00a0\u00ad1"),  # SASLprep: a ligature, a hard blank, a soft hyphen
        ("na\u00efve".encode("latin-1"), "na\u00efve"),  # PDFDocEncoding
        (b"\x80\xa0", "\u2022\u20ac"),  # a bullet and a euro there
    ],
)
def test_a_password_is_read_as_readers_do(stored: bytes, given: str) -> None:
    data = locked(stored)
    assert len(prepared(Pdf(data, password=given))) == 1
    assert "does not open this PDF" in refusal(Pdf(data, password=given + "x"))


def test_saslprep() -> None:
    """The examples of RFC 4013, section 3."""
    assert [saslprep(text) for text in ("I\u00adX", "user", "USER", "\u00aa", "\u2168")] == [
        "IX",
        "user",
        "USER",
        "a",
        "IX",
    ]
    assert saslprep("\u0007") is None
    assert password_bytes("\u0007") == [b"\x07"]
    assert password_bytes("a\0b") == []


@pytest.mark.parametrize(
    "make", [lambda: five_pages("null"), lambda: BROKEN["no header"][:300], lambda: XFA[: len(XFA) // 2]]
)
def test_cut_and_bad_files_raise_errors_of_ours_or_nothing(make: Callable[[], bytes]) -> None:
    data = make()
    for end in range(0, len(data), 37):
        with open_pages([data[:end], five_pages()], RULES, "skip") as sources:
            assert len(sources) >= 6
