"""One bad page costs one page: the others are ranked as if it had not been given, and it is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from corpus.pdfs import LOST, five_pages, one_page
from PIL import Image
from ziprerank.errors import InvalidInput, PageError
from ziprerank.inputs.page_source import PageSource
from ziprerank.inputs.pages import Pdf, open_pages
from ziprerank.inputs.prepared import Prepared, WarningPage
from ziprerank.profiling.record import record
from ziprerank.ranking import PageNote, summed_up
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineOptions

QUERY = "invoice total"


class LatePage(WarningPage):
    """A page of which only rendering shows that it is bad, or what there is to know about it."""

    page = None

    def __init__(self, size: tuple[int, int], *, bad: bool = False, warnings: tuple[str, ...] = ()) -> None:
        self.source = "late"
        self.size = size
        self.bad = bad
        self.warnings = warnings

    def read(self) -> Prepared:
        if self.bad:
            raise PageError("it cannot be drawn", source=self.source)
        return Prepared(np.full((*self.size, 3), 200, np.uint8), self.warnings)

    def picture(self, longest_side: int) -> Image.Image:
        return Image.new("L", (longest_side, longest_side))


def test_a_late_page_is_a_page() -> None:
    assert isinstance(LatePage((288, 288)), PageSource)


@pytest.mark.parametrize("places", [[0], [19], [3, 20, 21], [27, 28, 29]])
def test_the_ranking_is_as_if_bad_pages_had_not_been_given(
    reranker: Reranker, noise: Callable[..., np.ndarray], places: list[int]
) -> None:
    good = [noise(288, 288, seed) for seed in range(27)]
    queries = [QUERY, "fish soup"]
    expected = reranker.rank_many(queries, good, keep_ratio=0.5)
    given: list[object] = list(good)
    for number, place in enumerate(places):  # found when opened, and when rendered
        given.insert(place, b"%PDF-1.4\nno objects" if number == 1 else LatePage((288, 288), bad=True))
    back = [index for index in range(len(given)) if index not in places]
    steps: list[tuple[int, int]] = []
    found = reranker.rank_many(
        queries, given, keep_ratio=0.5, on_bad_page="skip", progress=lambda done, of: steps.append((done, of))
    )
    for one, other in zip(found, expected, strict=True):
        assert [page.index for page in one] == [back[page.index] for page in other]
        assert [(page.score, page.rank, page.kept) for page in one] == [
            (page.score, page.rank, page.kept) for page in other
        ]
        assert (one.pages, one.windows, one.tokens) == (other.pages, other.windows, other.tokens)
        assert [note.index for note in one.skipped] == places
        assert one.skipped[0].text == "it cannot be drawn"
    assert steps[-1][0] == steps[-1][1]
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    with pytest.raises(PageError):
        reranker.rank_many(queries, given)


def test_documents_and_pages_are_named(reranker: Reranker, tmp_path: Path) -> None:
    path = tmp_path / "broken.pdf"
    path.write_bytes(five_pages("/MediaBox [0 0 10 3000]"))
    ranking = reranker.rank(QUERY, [one_page(), path, tmp_path / "none.png"], on_bad_page="skip")
    assert {page.index for page in ranking} == {0, 1, 2, 4, 5}
    assert [(note.index, note.label) for note in ranking.skipped] == [
        (3, f"{path} p. 3"),
        (6, str(tmp_path / "none.png")),
    ]
    assert "aspect ratio of 300.0" in ranking.skipped[0].text
    assert str(ranking.skipped[1]) == f"{tmp_path / 'none.png'}: no such file"
    told = ranking.to_dict()["skipped"]
    assert told[1] == {"index": 6, "file": str(tmp_path / "none.png"), "page": None, "text": "no such file"}


def test_nothing_but_bad_pages_is_an_error(reranker: Reranker, tmp_path: Path) -> None:
    with pytest.raises(PageError, match=r"candidate 0 \(late\): it cannot be drawn"):
        reranker.rank(QUERY, LatePage((288, 288), bad=True), on_bad_page="skip")
    with pytest.raises(PageError, match=r"none of the 2 candidates can be ranked, and this is the first: no such file"):
        reranker.rank(QUERY, [tmp_path / "none.pdf", LatePage((288, 288), bad=True)], on_bad_page="skip")


def test_an_unknown_value_is_refused(reranker: Reranker) -> None:
    with pytest.raises(InvalidInput, match="on_bad_page 'drop': must be 'raise' or 'skip'"):
        reranker.rank(QUERY, one_page(), on_bad_page="drop")  # type: ignore[arg-type]


def test_warnings_are_told_also_of_pages_beyond_top_k(reranker: Reranker, noise: Callable[..., np.ndarray]) -> None:
    pages = [LatePage((288, 288), warnings=("first", "second")), noise(288, 288, 1), LOST["Cyrillic"]]
    whole = reranker.rank(QUERY, pages)
    by_index = {page.index: page.warnings for page in whole}
    assert by_index[0] == ("first", "second")
    assert by_index[1] == ()
    assert "text is missing" in by_index[2][0]
    short = reranker.rank(QUERY, pages, 1)
    assert short.warnings == whole.warnings
    assert [note.index for note in short.warnings] == [0, 0, 2]
    assert [page["warnings"] for page in whole.to_dict()["results"]] == [list(page.warnings) for page in whole]
    again, other = reranker.rank_many([QUERY, "soup"], pages)  # features and pixels are known now
    assert again.warnings == other.warnings == whole.warnings


def test_notes_are_summed_up() -> None:
    notes = [PageNote(at, "a.pdf", page, "lost") for at, page in enumerate((1, 2, 3, 7))]
    notes += [PageNote(9, "b.png", None, "lost"), PageNote(3, "a.pdf", 7, "other")]
    assert summed_up(notes) == ["a.pdf p. 1-3, 7: lost", "b.png: lost", "a.pdf p. 7: other"]
    assert summed_up(notes[:1], lambda note: f"documents[{note.index}]") == ["documents[0] p. 1: lost"]


def test_a_profile_skips_bad_pages(small_pages: Path) -> None:
    pages = [five_pages("/MediaBox [0 0 10 3000]"), b"junk"]
    found = record(QUERY, pages, EngineOptions(small_pages, threads=1), runs=1, on_bad_page="skip")
    assert [note.index for note in found.rankings[0].skipped] == [2, 5]
    with pytest.raises(PageError):
        record(QUERY, pages, EngineOptions(small_pages, threads=1), runs=1)


def test_open_pages_yields_bad_pages_that_rank_takes(reranker: Reranker) -> None:
    data = five_pages("/MediaBox [0 0 10 3000]")
    with open_pages([Pdf(data), b"junk"], reranker.bundle.image, "skip") as sources:
        assert len(sources) == 6
        ranking = reranker.rank(QUERY, sources, on_bad_page="skip")
        assert [note.index for note in ranking.skipped] == [2, 5]
        with pytest.raises(PageError, match="candidate 2"):
            reranker.rank(QUERY, sources)


def test_a_page_of_the_caller_needs_no_more_than_its_pixels(reranker: Reranker) -> None:
    """A ``PageSource`` that is none of this package's: ``prepare`` returns an array."""

    class OwnPage:
        source, page, size = "own", None, (288, 288)

        def prepare(self) -> np.ndarray:
            return np.full((*self.size, 3), 200, np.uint8)

        def picture(self, longest_side: int) -> Image.Image:
            return Image.new("L", (longest_side, longest_side))

    ranking = reranker.rank(QUERY, [OwnPage(), LatePage((288, 288), warnings=("a note",))])
    assert sorted((page.source, page.warnings) for page in ranking) == [("late", ("a note",)), ("own", ())]
