"""Synthetic documents, read back with pypdfium2."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from random import Random

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c
import pytest
from ziprerank.train.data import blocks, charts, layout
from ziprerank.train.data.documents import draw_style, make_document
from ziprerank.train.data.typefaces import Widths, base14, families
from ziprerank.train.errors import TrainError

# every word is unique, so that a missing or repeated one shows; none ends in a hyphen, which a reader may join
TEXTS = [" ".join(f"w{number}q{word}é" for word in range(20 + number % 50)) for number in range(400)]


def read(path: Path) -> list[str]:
    document = pdfium.PdfDocument(path)
    pages = [page.get_textpage().get_text_bounded() for page in document]
    document.close()
    return pages


@pytest.fixture(scope="module")
def fonts() -> list[Path]:
    """Folders of fonts on this system; matplotlib brings DejaVu along."""
    matplotlib = pytest.importorskip("matplotlib")
    return [Path(matplotlib.get_data_path()) / "fonts" / "ttf"]


@pytest.mark.parametrize("seed", range(8))
def test_every_paragraph_can_be_read_back_in_order(tmp_path: Path, seed: int) -> None:
    make_document(tmp_path / "a.pdf", TEXTS, seed, 3)
    pages = read(tmp_path / "a.pdf")
    assert len(pages) == 3
    words = set(re.findall(r"w\d+q\d+é", " ".join(pages)))
    assert words <= {word for text in TEXTS for word in text.split()}
    # which text was used whole is known from its last word; all of it but for lists and boxes, which shorten
    whole = [text.split() for text in TEXTS if text.split()[-1] in words]
    complete = [text for text in whole if words.issuperset(text)]
    assert len(complete) >= 3
    flat = " ".join(" ".join(pages).split())
    assert sum(" ".join(text[:4]) in flat for text in complete) >= 0.6 * len(
        complete
    )  # the rest: broken by the measure


def test_characters_beyond_latin_come_back(tmp_path: Path, fonts: list[Path]) -> None:
    """Greek, Cyrillic, arrows and fractions through embedded TrueType fonts."""
    found = families(fonts)
    seed = next(seed for seed in range(100) if draw_style(Random(seed), found).body.name.startswith("DejaVu"))
    words = ["Ωμέγα", "дождь", "naïve", "½", "→", "œuvre", "≤", "“quoted”", "größe"]
    make_document(tmp_path / "a.pdf", [" ".join(words * 4)], seed, 1, found)
    text = read(tmp_path / "a.pdf")[0]
    counted = Counter(word for word in text.split() if word in words)
    assert set(counted) == set(words)


def test_words_without_glyphs_are_left_out(tmp_path: Path) -> None:
    make_document(tmp_path / "a.pdf", ["plain Ω漢字 words around it Ωμέγα here"], 3, 1)
    text = read(tmp_path / "a.pdf")[0]
    assert "plain" in text
    assert "Ω" not in text
    assert "漢" not in text


def test_same_seed_same_bytes(tmp_path: Path, fonts: list[Path]) -> None:
    found = families(fonts)
    seeds = [
        next(seed for seed in range(50) if draw_style(Random(seed), found).body in kind) for kind in (found, base14())
    ]
    trials = {seed: [tmp_path / f"{seed}-{turn}.pdf" for turn in range(2)] for seed in seeds}
    for turn in range(2):  # other documents in between must not matter
        for seed, paths in trials.items():
            make_document(paths[turn], TEXTS, seed, 2, found)
    for first, second in trials.values():
        assert first.read_bytes() == second.read_bytes()
    one, other = (paths[0].read_bytes() for paths in trials.values())
    assert one != other


def test_every_kind_appears(tmp_path: Path) -> None:
    drawn: Counter[str] = Counter()
    for seed in range(12):
        drawn += make_document(tmp_path / "a.pdf", TEXTS, seed, 4)
    assert set(drawn) == {*blocks.BLOCKS, "title", *(f"chart-{kind}" for kind in charts.CHARTS)}
    styles = [draw_style(Random(seed)) for seed in range(300)]
    assert {style.page for style in styles} == set(layout.PAGES)
    assert {style.columns for style in styles} == {1, 2, 3}
    assert {style.body.name for style in styles} == {"Times", "Helvetica", "Courier"}
    for switch in ("justified", "header", "footer", "band", "rule", "numbered", "caps"):
        assert {getattr(style, switch) for style in styles} == {True, False}, switch
    assert len({style.paper for style in styles}) > 2
    assert all(8 <= style.size <= 13 and 1.1 <= style.leading / style.size <= 1.5 for style in styles)


@pytest.mark.parametrize("seed", range(10))
def test_text_stays_on_the_page(tmp_path: Path, seed: int) -> None:
    make_document(tmp_path / "a.pdf", TEXTS, seed, 2)
    size = layout.PAGES[draw_style(Random(seed)).page]
    document = pdfium.PdfDocument(tmp_path / "a.pdf")
    for page in document:
        assert page.get_size() == pytest.approx(size, abs=0.01)
        for item in page.get_objects(filter=[pdfium_c.FPDF_PAGEOBJ_TEXT]):
            left, bottom, right, top = item.get_bounds()
            assert left >= 0
            assert bottom >= 0
            assert right <= size[0]
            assert top <= size[1]
    document.close()


def test_columns_do_not_overlap(tmp_path: Path) -> None:
    """Words of a three-column document lie inside one column each, justified or not."""
    for seed in [seed for seed in range(200) if draw_style(Random(seed)).columns == 3][:3]:
        style = draw_style(Random(seed))
        make_document(tmp_path / "a.pdf", TEXTS, seed, 2)
        document = pdfium.PdfDocument(tmp_path / "a.pdf")
        text = document[1].get_textpage()
        content = text.get_text_range()
        width = (layout.PAGES[style.page][0] - 2 * style.margin - 2 * style.gutter) / 3
        for match in re.finditer(r"w\d+q\d+é", content):
            boxes = [text.get_charbox(index) for index in range(match.start(), match.end())]
            if max(box[3] for box in boxes) > layout.PAGES[style.page][1] - style.margin - style.size * 1.8:
                continue  # the running header spans the columns
            left, right = min(box[0] for box in boxes), max(box[2] for box in boxes)
            column = (left - style.margin + 1) // (width + style.gutter)
            assert right <= style.margin + column * (width + style.gutter) + width + 2
        document.close()


@pytest.mark.parametrize("embedded", [False, True])
def test_justified_lines_reach_the_right_edge(tmp_path: Path, fonts: list[Path], embedded: bool) -> None:
    """Ends of the lines, where characters are on the page: most at the edge if justified, few if not."""
    found = families(fonts) if embedded else ()
    shares = {}
    for justified in (True, False):
        seed = next(
            seed
            for seed in range(300)
            if (style := draw_style(Random(seed), found)).justified == justified
            and style.columns == 1
            and style.page in ("a4", "letter")
            and (style.body.name in ("Times", "Helvetica")) != embedded
        )
        make_document(tmp_path / "a.pdf", TEXTS, seed, 2, found)
        edge = layout.PAGES[style.page][0] - style.margin
        document = pdfium.PdfDocument(tmp_path / "a.pdf")
        text = document[1].get_textpage()
        rights: dict[int, float] = {}
        for index, character in enumerate(text.get_text_range()):
            if character == "é":
                left, bottom, right, _ = text.get_charbox(index)
                if right > 0.75 * edge:
                    rights[round(bottom)] = max(rights.get(round(bottom), left), right)
        shares[justified] = sum(abs(right - edge) < 1.5 for right in rights.values()) / len(rights)
        document.close()
    assert shares[True] > 0.35  # last lines, lists, tables and boxes stay ragged
    assert shares[False] < 0.15


def test_lines_keep_the_measure_and_every_word() -> None:
    widths = Widths()
    words = ["alpha", "be", "gamma" * 30, "delta", "epsilon"] * 7
    lines = list(widths.lines(words, "Helvetica", 11, 120))
    assert "".join(word for line, _ in lines for word in line) == "".join(words)
    for line, width in lines:
        assert width == pytest.approx(widths.of(" ".join(line), "Helvetica", 11), abs=1e-6)
        assert width <= 120


def test_chart_axis_ends_at_or_above_the_highest_value() -> None:
    for value, end in ((7, 10), (10, 10), (11, 20), (230, 250), (251, 500), (800, 1000), (1, 1)):
        assert charts.ceiling(value) == end


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="0 pages: at least 1"):
        make_document(tmp_path / "a.pdf", TEXTS, 0, 0)
    with pytest.raises(TrainError, match="1 texts without a word"):
        make_document(tmp_path / "a.pdf", ["漢字 漢字"], 0, 1)
    with pytest.raises(TrainError, match="no folder"):
        families([tmp_path / "none"])
    with pytest.raises(TrainError, match="no TrueType family"):
        families([tmp_path])
