"""Tests of texts that are drawn as pages: by the operator's default, in which fonts, and what is said about them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import matplotlib
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont
from fontTools.ttLib.ttCollection import TTCollection
from PIL import ImageDraw
from server_process import Server
from ziprerank.errors import InvalidInput
from ziprerank.serve import font_files
from ziprerank.serve.font_files import IN_THE_BOX, read_font
from ziprerank.serve.text_page import LARGEST, MOST_CHARACTERS, SMALLEST, lay_out
from ziprerank.serve.typeface import Fonts

QUERY = "dividend shareholders board directors"
ORDINARY = "Café – “naïve” façade… • 5 € £ ¥ © ½ × ≤ → ✓ Größe Łódź Œuvre ﬁn Ελλάδα Россия Україна Việt"
RARE = "\U000f0000"  # of private use, in no font that anybody has


def make_font(path: Path, *characters: str) -> Path:
    """Writes a font in which each character is a full square."""
    pen = TTGlyphPen(None)
    for point in ((0, 0), (0, 800), (800, 800), (800, 0)):
        (pen.lineTo if point != (0, 0) else pen.moveTo)(point)
    pen.closePath()
    square = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    names = [".notdef", *(f"g{ord(one):x}" for one in characters)]
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(one): name for one, name in zip(characters, names[1:], strict=True)})
    builder.setupGlyf(dict.fromkeys(names, square))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Square", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture(scope="module")
def drawing(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server that draws texts and skips what is bad, with a font for one rare character."""
    fonts = tmp_path_factory.mktemp("fonts")
    make_font(fonts / "square.ttf", RARE)
    (fonts / "broken.ttf").write_bytes(b"\0\1\0\0 no font")
    variables = {"ZIPRERANK_RENDER_TEXT": "1", "ZIPRERANK_ON_BAD_PAGE": "skip", "ZIPRERANK_FONTS": str(fonts)}
    with Server("--bundle", bundle_path, variables=variables) as server:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            yield client
        assert server.stop() == 0


def rank(client: httpx.Client, documents: list[Any], **more: Any) -> dict[str, Any]:
    answer = client.post("/v1/rerank", json={"query": QUERY, "documents": documents, **more})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_the_operator_has_texts_drawn(drawing: httpx.Client) -> None:
    body = rank(drawing, ["Dividends are paid in May.", {"text": ORDINARY}])
    assert {one["index"] for one in body["results"]} == {0, 1}
    assert "warnings" not in body["meta"]
    defaults = drawing.get("/info").json()["defaults"]
    assert (defaults["render_text"], defaults["on_bad_page"]) == (True, "skip")


def test_a_request_may_say_otherwise(drawing: httpx.Client, client: httpx.Client) -> None:
    body = {"query": QUERY, "documents": ["Dividends"], "render_text": False}
    assert "set render_text" in drawing.post("/v1/rerank", json=body).json()["message"]
    bad = {"query": QUERY, "documents": ["Dividends", "  "], "render_text": True}
    assert client.post("/v1/rerank", json=bad).json()["error"]["param"] == "documents[1]"
    body = rank(client, bad["documents"], render_text=True, on_bad_page="skip")
    assert [one["index"] for one in body["meta"]["skipped"]] == [1]
    refused = drawing.post("/v1/rerank", json={**bad, "on_bad_page": "raise"})
    assert refused.json()["error"]["param"] == "documents[1]"


def test_bad_documents_are_theirs_alone(drawing: httpx.Client, images: list[bytes]) -> None:
    body = rank(drawing, ["Dividends", "", {"image": "%%%"}, {"image": "https://example.com/a.png"}])
    assert [one["index"] for one in body["results"]] == [0]
    skipped = {one["index"]: one["reason"] for one in body["meta"]["skipped"]}
    assert "empty" in skipped[1]
    assert "not valid base64" in skipped[2]
    assert "does not fetch URLs" in skipped[3]
    files = [("files", ("junk.pdf", b"%PDF-junk")), ("files", ("a.png", images[0]))]
    answer = drawing.post("/v1/rerank/files", data={"query": QUERY}, files=files)
    assert [one["index"] for one in answer.json()["meta"]["skipped"]] == [0]


def test_long_texts_are_cut_and_said(drawing: httpx.Client) -> None:
    body = rank(drawing, ["short", "word " * 3000])
    (line,) = body["meta"]["warnings"]
    assert line.startswith("documents[1]: cut: ")
    assert "of its 12,000 characters without blanks fit on the page" in line
    assert [len(one.get("warnings", [])) for one in sorted(body["results"], key=lambda one: one["index"])] == [0, 1]


def test_missing_glyphs_are_boxes_with_a_warning(drawing: httpx.Client, client: httpx.Client) -> None:
    """One character is in the operator's font, the other in none."""
    assert "warnings" not in rank(drawing, [f"a {RARE}"])["meta"]
    (line,) = rank(client, [f"a {RARE}"], render_text=True)["meta"]["warnings"]
    assert line.startswith("documents[0]: no font here has '\\U000f0000' (U+F0000), drawn as boxes")
    (line,) = rank(drawing, ["\U000f0001\U000f0002\U000f0003\U000f0004\U000f0005"])["meta"]["warnings"]
    assert "(U+F0003) and 2 more" in line


def test_the_font_in_the_box_has_what_is_usual() -> None:
    fonts = Fonts.of(ORDINARY)
    assert (fonts.others, fonts.missing) == ({}, ())
    assert IN_THE_BOX.stat().st_size < 400_000
    assert "Bitstream" in (IN_THE_BOX.parent / "LICENSE").read_text()


@pytest.mark.parametrize("name", ["DejaVuSans.ttf", "STIXGeneral.ttf", "cmr10.ttf"])
def test_characters_are_those_that_fonttools_reads(name: str) -> None:
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    ranges = read_font(path).ranges
    wanted = sorted(set(TTFont(path).getBestCmap()) - {0xFFFF})
    assert [code for first, last in ranges for code in range(first, last + 1)] == wanted


def test_fonts_of_a_collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both fonts are found, each at its place in the file; one of bitmaps only is not."""
    one, two = (make_font(tmp_path / f"{code:x}", chr(code)) for code in (0xF0000, 0xF0001))
    collection = TTCollection()
    collection.fonts = [TTFont(one), TTFont(two)]
    folder = tmp_path / "fonts"
    folder.mkdir()
    collection.save(folder / "both.ttc")
    bitmaps = TTFont(make_font(tmp_path / "bitmaps", "\U000f0002"), recalcBBoxes=False)
    for table in ("glyf", "loca"):
        del bitmaps[table]
    bitmaps.save(folder / "bitmaps.ttf")
    monkeypatch.setenv("ZIPRERANK_FONTS", str(folder))
    found = font_files._on_this_machine.__wrapped__()
    numbers = {font.number for font in found if "\U000f0000" in font or "\U000f0001" in font}
    assert numbers == {0, 1}
    assert not any("\U000f0002" in font for font in found)


def test_other_fonts_draw_what_the_main_one_lacks(tmp_path: Path) -> None:
    """A square is drawn in the middle of a line, and the line is as wide as its parts."""
    font = read_font(make_font(tmp_path / "square.ttf", RARE))
    sheet = lay_out(f"ab {RARE} cd", 400)
    boxes = np.asarray(sheet.draw())
    known = Fonts(sheet.fonts.main, {RARE: font})
    drawn = np.asarray(type(sheet)(sheet.shape, sheet.lines, known, sheet.size).draw())
    assert (drawn == 0).sum() > (boxes == 0).sum() + 400  # a square of 16 px, three channels, but for its edges
    assert sheet.warnings
    assert not known.warnings()


def test_letters_from_right_to_left_are_said_where_they_cannot_be_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.features.check", lambda _: False)
    assert "from right to left" in Fonts(read_font(IN_THE_BOX), from_the_right=True).warnings()[0]
    assert Fonts.of("\u05e9\u05dc\u05d5\u05dd").from_the_right
    assert not Fonts.of("Dividends").from_the_right


def test_what_shows_nothing_is_left_out() -> None:
    assert lay_out("co\u00adop\u200derate\ufe0f e\u0301\ttab", 400).lines == ("cooperate \u00e9 tab",)
    with pytest.raises(InvalidInput, match="the text is empty"):
        lay_out("\u200d\n \u00ad", 400)


def test_sizes_of_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest at which a text fits; the smallest for one that is cut, of which no more is laid out than fits."""
    assert lay_out("a word", 1024).size == LARGEST
    drawn: list[str] = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda _self, _place, part, **_: drawn.append(part))
    sheet = lay_out("word " * MOST_CHARACTERS, 1024)
    assert sheet.size == SMALLEST
    assert "of its 80,000 characters" in sheet.warnings[0]
    sheet.draw()
    assert tuple(drawn) == sheet.lines


def test_a_text_font_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.ttf").write_text("words")
    with pytest.raises(InvalidInput, match="cannot be read as a font"):
        lay_out("a", 400, tmp_path / "a.ttf")
