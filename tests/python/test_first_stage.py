"""The first stage: BM25 over the text layer picks what the model reads, and never what it cannot judge."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from page_images import RULES
from pdf_files import drawn_pdf
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas
from waiting import wait_until
from ziprerank.errors import Cancelled, InvalidInput, PageError
from ziprerank.first_stage.bm25 import Index, words_of
from ziprerank.first_stage.stage import StageOptions, choose
from ziprerank.first_stage.texts import TextStore
from ziprerank.inputs.page_source import PageSource
from ziprerank.inputs.pages import Pdf, open_pages
from ziprerank.inputs.prepared import TextFile, TextPlace
from ziprerank.inputs.workers.limits import PageLimits
from ziprerank.inputs.workers.pool import Interrupt, Interrupted, close_workers, pool
from ziprerank.inputs.wrapped_page import WrappedPage
from ziprerank.reranker import Reranker

SUBJECTS = ("soup", "engine", "harbour", "dividend", "violin", "glacier", "orchard", "census")
SIZE = 300, 400

Draw = Callable[[Canvas], None]


def words(text: str) -> Draw:
    def draw(canvas: Canvas) -> None:
        canvas.setFont("Helvetica", 12)
        for line, part in enumerate(text.split("\n")):
            canvas.drawString(20, 370 - 16 * line, part)

    return draw


def scan(stamp: str = "") -> Draw:
    def draw(canvas: Canvas) -> None:
        canvas.drawImage(ImageReader(Image.new("RGB", (60, 80), (250, 250, 240))), 0, 0, *SIZE)
        words(stamp)(canvas)

    return draw


def figure(canvas: Canvas) -> None:
    canvas.circle(150, 200, 80)


def empty(_canvas: Canvas) -> None:
    """Nothing at all."""


def pdf(pages: Sequence[Draw]) -> bytes:
    return drawn_pdf(pages, SIZE)


def manual(pages: int = 60) -> list[Draw]:
    """Page i is about a subject of its own, and half of the pages also name the next page's."""
    return [words(f"Part {page}\nabout the {subject(page)} alone") for page in range(pages)]


def subject(page: int) -> str:
    return f"{SUBJECTS[page % len(SUBJECTS)]}{chr(97 + page // len(SUBJECTS))}"


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("long") / "manual.pdf"
    file.write_bytes(pdf(manual()))
    return file


def test_only_candidates_are_read_and_all_pages_are_ranked(reranker: Reranker, long: Path) -> None:
    steps: list[tuple[int, int]] = []
    before = reranker.engine.pool
    ranking = reranker.rank(subject(33), long, progress=lambda *step: steps.append(step))
    after = reranker.engine.pool
    assert (ranking.first_stage, ranking.windows, ranking.pages, len(ranking)) == ("text", 1, 60, 60)
    assert after["hits"] + after["misses"] - before["hits"] - before["misses"] == 20
    assert sorted(page.index for page in ranking) == list(range(60))
    assert 33 in {page.index for page in ranking[:20]}
    assert [page.passes for page in ranking] == [(1,)] * 20 + [()] * 40
    assert steps[-1] == (21, 21)
    assert [page.score for page in ranking] == sorted({page.score for page in ranking}, reverse=True)


def test_the_scores_of_the_candidates_are_those_of_a_ranking_of_them_alone(reranker: Reranker, long: Path) -> None:
    ranking = reranker.rank(subject(7), long, 20)
    with open_pages(long, reranker.bundle.image) as sources:
        order = choose(TextStore(), [subject(7)], sources, range(60), StageOptions(), 20)[0].chosen
    alone = reranker.rank(subject(7), [Pdf(long, [page + 1]) for page in order], first_stage="none")
    assert [(order[page.index], page.score) for page in alone] == [(page.index, page.score) for page in ranking]


def test_the_order_of_candidates_is_that_of_bm25(reranker: Reranker) -> None:
    pages = [words(("kiwi " * (page % 7)) + f"filler{page}") for page in range(30)]
    with open_pages(pdf(pages), reranker.bundle.image) as sources:
        (choice,) = choose(TextStore(), ["Kiwi"], sources, range(30), StageOptions("text", 8), 20)
    scores = Index([words_of(("kiwi " * (page % 7)) + f"filler{page}") for page in range(30)]).scores(["kiwi"])
    assert [*choice.chosen, *choice.rest] == sorted(range(30), key=lambda page: -scores[page])
    assert len(choice.chosen) == 8


@pytest.mark.parametrize("kind", ["scan", "stamped scan", "figure", "image file"])
def test_a_page_without_text_is_never_left_out(reranker: Reranker, kind: str) -> None:
    """Also not a scan on which an archive has put its stamp, which no query is about."""
    made = {"scan": scan(), "stamped scan": scan("Downloaded from an archive"), "figure": figure}
    pages = manual(40)
    given: list[object] = [pdf(pages)]
    if kind == "image file":
        stream = io.BytesIO()
        Image.new("RGB", (90, 120), "white").save(stream, "PNG")
        given.append(stream.getvalue())
        odd = 40
    else:
        pages[11] = made[kind]
        given = [pdf(pages)]
        odd = 11
    ranking = reranker.rank(subject(3), given, first_stage="text")  # type: ignore[arg-type]
    read = {page.index for page in ranking if page.passes}
    assert ranking.first_stage == "text"
    assert {odd, 3} <= read
    assert len(read) == 20


def test_an_empty_page_takes_no_place(reranker: Reranker) -> None:
    pages = manual(40)
    pages[39] = empty
    ranking = reranker.rank(subject(3), pdf(pages))
    assert 39 not in {page.index for page in ranking if page.passes}


def test_many_pages_without_text_are_all_read_beside_as_many_others(reranker: Reranker) -> None:
    pages = [*manual(30), *[scan()] * 15]
    with open_pages(pdf(pages), reranker.bundle.image) as sources:
        (choice,) = choose(TextStore(), [subject(3)], sources, range(45), StageOptions("text", 20), 20)
        assert set(range(30, 45)) <= set(choice.chosen)
        assert len(choice.chosen) == 10 + 15
        (auto,) = choose(TextStore(), [subject(3)], sources, range(45), StageOptions("auto", 20), 20)
    assert (auto.stage, auto.chosen) == ("none", tuple(range(45)))  # under nine tenths have text


def test_auto_reads_no_more_texts_than_it_needs(reranker: Reranker) -> None:
    store = TextStore()
    with open_pages(pdf([scan()] * 100), reranker.bundle.image) as sources:
        (choice,) = choose(store, ["soup"], sources, range(100), StageOptions(), 20)
    assert choice.stage == "none"
    assert store.read <= 32


def test_a_query_that_is_on_no_page_leaves_none_out(reranker: Reranker, long: Path) -> None:
    with open_pages(long, reranker.bundle.image) as sources:
        found = choose(TextStore(), ["zeppelin", subject(2)], sources, range(60), StageOptions(), 20)
    assert [(choice.stage, len(choice.chosen)) for choice in found] == [("none", 60), ("text", 20)]


def test_queries_of_other_stages_count_equal_steps(reranker: Reranker, long: Path) -> None:
    """As a batch job's clock needs: rows of a group have equally many steps."""
    steps: list[tuple[int, int]] = []
    queries = [subject(2), "zeppelin"]
    found = reranker.rank_many(queries, long, 5, progress=lambda *step: steps.append(step))
    assert [ranking.first_stage for ranking in found] == ["text", "none"]
    assert found[1].strategy == "partition"
    most = 60 + found[1].windows
    assert steps[-1] == (2 * most, 2 * most)
    assert (most, 2 * most) in steps


def test_texts_are_read_once_for_each_owner_and_file(reranker: Reranker, tmp_path: Path) -> None:
    store, file = TextStore(), tmp_path / "a.pdf"
    file.write_bytes(pdf(manual(30)))

    def read(given: object, owner: str = "") -> int:
        before = store.read
        with open_pages(given, reranker.bundle.image) as sources:  # type: ignore[arg-type]
            choose(store, ["soup"], sources, range(len(sources)), StageOptions(), 20, owner)
        return store.read - before

    assert [read(file), read(file), read(str(file))] == [30, 0, 0]
    assert [read(file.read_bytes()), read(file.read_bytes())] == [30, 0]
    assert [read(file, "someone else"), read(file, "someone else")] == [30, 0]
    file.write_bytes(pdf(manual(31)))
    os.utime(file, (1, 1))
    assert [read(file), read(file)] == [31, 0]


def test_few_texts_are_kept(reranker: Reranker) -> None:
    store = TextStore(most_characters=100, most_words=10)
    for round_ in range(2):
        for pages in (25, 26):
            before = store.read
            with open_pages(pdf(manual(pages)), reranker.bundle.image) as sources:
                choose(store, ["soup"], sources, range(pages), StageOptions(), 20)
            assert store.read - before == pages, round_


def test_pages_without_text_take_room_too(reranker: Reranker) -> None:
    store = TextStore(most_characters=1000)
    files = [pdf([figure] * 5 + [words(str(number))]) for number in range(9)]

    def read(file: bytes) -> int:
        before = store.read
        with open_pages(file, reranker.bundle.image) as sources:
            assert store.texts(sources, range(6)) is not None
        return store.read - before

    assert [read(file) for file in files] == [6] * 9
    assert [read(file) for file in (files[-1], files[-2], files[0])] == [0, 0, 6]  # two of over 384 have room


def test_reading_texts_may_be_ended(reranker: Reranker, long: Path) -> None:
    class Enough(Exception):
        pass

    def stop(_done: int, _steps: int) -> None:
        raise Enough

    fresh = reranker.for_owner("ends early")
    with pytest.raises(Enough):
        fresh.rank("soup", long, progress=stop)
    assert fresh.rank(subject(5), long, 1).first_stage == "text"


class Troubled:
    """A file of which some pages' texts cannot be read, as of pages that crash their reader or take too long.

    Attributes:
        asked: What was asked for, request by request.
    """

    def __init__(self, file: TextFile, bad: Sequence[int]) -> None:
        self.asked: list[list[int]] = []
        self._file = file
        self._bad = {*bad}

    def identity(self) -> tuple[object, ...] | None:
        return self._file.identity()

    def texts(self, pages: Sequence[int]) -> list[str | None]:
        self.asked.append(list(pages))
        if self._bad & {*pages}:
            raise PageError("reading the text of its pages took more than 20 s (page_timeout)", source="troubled")
        return self._file.texts(pages)


class Placed(WrappedPage):
    """A page whose text is read from another file."""

    def __init__(self, source: PageSource, place: TextPlace) -> None:
        super().__init__(source)
        self._place = place

    def text_place(self) -> TextPlace:
        return self._place


@contextmanager
def troubled(reranker: Reranker, data: Path, bad: Sequence[int]) -> Iterator[tuple[Troubled, list[Placed]]]:
    """Opens a PDF of whose pages ``bad``, 1-based, have no text that can be read."""
    with open_pages(data, reranker.bundle.image) as sources:
        places = [source.text_place() for source in sources]  # type: ignore[attr-defined]
        file = Troubled(places[0].file, bad)
        yield file, [Placed(source, TextPlace(file, place.page)) for source, place in zip(sources, places, strict=True)]


def test_a_page_whose_text_cannot_be_read_is_the_only_one_without(reranker: Reranker, long: Path) -> None:
    """And is read by the model; it is asked for twice, with its neighbours and alone."""
    with troubled(reranker, long, [7]) as (file, pages):
        (choice,) = choose(TextStore(), [subject(33)], pages, range(60), StageOptions(), 20)
    assert choice.stage == "text"
    assert {6, 33} <= set(choice.chosen)
    assert len(choice.chosen) == 20
    assert sum(7 in pages for pages in file.asked) == 2
    assert [len(pages) for pages in file.asked] == [16, *[1] * 16, 16, 16, 12]


def test_many_pages_whose_text_cannot_be_read_are_not_all_waited_for_alone(reranker: Reranker, long: Path) -> None:
    with troubled(reranker, long, range(1, 61)) as (file, pages):
        (choice,) = choose(TextStore(), [subject(33)], pages, range(60), StageOptions("text"), 20)
    assert choice.stage == "none"
    assert [len(pages) for pages in file.asked] == [16, 1, 1, 1, 1, 16, 16, 12]


def test_a_text_that_cannot_be_read_is_asked_for_once_for_each_opening(reranker: Reranker, long: Path) -> None:
    """Not again by the ranking, which has the engine, after the reading before it; but by the next request."""
    ours = reranker.for_owner("asks once")
    for again in (False, True):
        with troubled(reranker, long, [7]) as (file, pages):
            ours.read_texts(pages)
            read = list(file.asked)
            assert [pages for pages in read if 7 in pages] == [[7]] if again else [[*range(1, 17)], [7]]
            ranking = ours.rank(subject(33), pages, 3)  # type: ignore[arg-type]
            assert ranking.first_stage == "text"
            assert file.asked == read


def test_a_reading_that_failed_is_tried_again(reranker: Reranker, long: Path) -> None:
    """As after a page worker's end; until then the pages count as pages without text, and are read by the model."""
    store = TextStore()
    for bad, stage in ((range(1, 61), "none"), ((), "text")):
        with troubled(reranker, long, bad) as (_, pages):
            (choice,) = choose(store, [subject(1)], pages, range(60), StageOptions(), 20)
        assert choice.stage == stage


@contextmanager
def stuck(long: Path) -> Iterator[Sequence[PageSource]]:
    """Opens a PDF whose page worker has hung since, as on a page that takes it for ever; for an hour nobody ends it."""
    close_workers()
    try:
        with open_pages(long, RULES, limits=PageLimits(1, timeout=3600.0)) as sources:
            (worker,) = pool().pids()
            os.kill(worker, signal.SIGSTOP)
            yield sources
    finally:
        close_workers()


def at_work() -> list[int]:
    """Workers that have a request."""
    return [worker.pid for worker in pool()._workers if worker.since is not None]


def test_a_cancel_ends_the_reading_of_a_text(reranker: Reranker, long: Path) -> None:
    cancel, ours = threading.Event(), reranker.for_owner("cancels")
    with ThreadPoolExecutor(1) as thread, stuck(long) as sources:
        ranking = thread.submit(ours.rank, "soup", sources, cancel=cancel)  # type: ignore[arg-type]
        try:
            wait_until(lambda: len(at_work()) == 1)
        finally:
            cancel.set()
        with pytest.raises(Cancelled):
            ranking.result(60)
        assert not at_work()
    assert ours.rank(subject(5), long, 1).first_stage == "text"


def test_an_interrupt_ends_the_reading_before_a_ranking(reranker: Reranker, long: Path) -> None:
    """As in a service, whose client has gone; nothing is read after that."""
    interrupt, ours = Interrupt(), reranker.for_owner("leaves")

    def read() -> None:
        with interrupt.applied():
            ours.read_texts(sources)

    with ThreadPoolExecutor(1) as thread, stuck(long) as sources:
        asked = thread.submit(read)
        try:
            wait_until(lambda: len(at_work()) == 1)
        finally:
            interrupt.set()
        with pytest.raises(Interrupted):
            asked.result(60)
        assert not at_work()


def test_a_bad_page_among_the_candidates_makes_room_for_another(reranker: Reranker, long: Path) -> None:
    class Torn:
        source, page, size = "torn", None, (64, 64)

        def prepare(self) -> None:
            raise PageError("torn", source="torn")

        picture = prepare

    given = [long, Torn()]
    ranking = reranker.rank(subject(5), given, first_stage="text", on_bad_page="skip")  # type: ignore[list-item]
    assert [note.index for note in ranking.skipped] == [60]
    assert (ranking.pages, sum(bool(page.passes) for page in ranking)) == (60, 20)


def test_one_pass_of_a_long_document(reranker: Reranker, long: Path) -> None:
    assert reranker.rank(subject(5), long, 1, window="off").windows == 1
    with pytest.raises(InvalidInput, match="60 pages, at most 20 in one pass"):
        reranker.rank(subject(5), long, 1, window="off", first_stage="none")


@pytest.mark.parametrize("workers", ["auto", "off"])
def test_texts_in_both_places(small_pages: Path, long: Path, workers: str) -> None:
    with Reranker.from_bundle(small_pages, page_workers=workers, threads=1) as ours:  # type: ignore[arg-type]
        assert ours.rank(subject(9), long, 1, candidates=3, first_stage="text").first_stage == "text"


def test_words_of_scripts_without_spaces() -> None:
    assert words_of("走行距離 is 12 km") == ["走行", "行距", "距離", "is", "12", "km"]
    assert words_of("東") == ["東"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"first_stage": "bm25"}, "first_stage 'bm25': must be 'auto', 'text', 'relevance' or 'none'"),
        ({"candidates": 0}, "candidates 0: must be a whole number of at least 1"),
        ({"candidates": 2.5}, "candidates 2.5: must be a whole number of at least 1"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        StageOptions(**options)  # type: ignore[arg-type]
    assert str(caught.value) == message
