"""What a ranking will read is counted as the ranking counts it, and what it will take goes by rates, not by a clock."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pdf_files import drawn_pdf
from reportlab.pdfgen.canvas import Canvas
from ziprerank.errors import InvalidInput, PageError
from ziprerank.estimate import count_work, estimate
from ziprerank.inputs.pages import open_pages
from ziprerank.partition import plan_partition
from ziprerank.ranking import Tokens
from ziprerank.ranking_plan import RankingPlan
from ziprerank.reranker import Reranker
from ziprerank.runtime.calibration import OWNER, calibrate, made_page
from ziprerank.runtime.engine import WindowLike
from ziprerank.runtime.open_window import OpenWindow
from ziprerank.runtime.passes import Passes
from ziprerank.runtime.rates import Measured, Rates, fit_passes
from ziprerank.windows import Plan

Noise = Callable[[int, int, int], np.ndarray]
GIVEN = Rates(page_ms=7.0, token_ms=0.5, pass_ms=(3.0, 0.25, 0.0))


def document(pages: int, word: str = "subject") -> bytes:
    def draw(canvas: Canvas, page: int) -> None:
        for line in range(8):
            canvas.drawString(20, 370 - 40 * line, f"{word}{page} and line {line} of what is said about it")

    return drawn_pdf(partial(draw, page=page) for page in range(pages))


@pytest.fixture(scope="module")
def long() -> bytes:
    return document(60)


@pytest.fixture
def whole(small_pages: Path) -> Reranker:
    """Reads blank tokens too, so that what it reads is known beforehand; by rates that are given."""
    reranker = Reranker.from_bundle(small_pages, blank="keep", check="size")
    reranker.measured.given = GIVEN
    return reranker


OPTIONS: list[dict[str, Any]] = [
    {},
    {"candidates": 33},
    {"keep_ratio": 0.1},
    {"first_stage": "none"},
    {"first_stage": "none", "strategy": "partition", "top_k": 3},
    {"first_stage": "none", "window": 7, "stride": 2},
    {"first_stage": "relevance"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_plan_counts_what_the_ranking_reads(whole: Reranker, long: bytes, options: dict[str, Any]) -> None:
    before = whole.engine.pool
    plan = whole.plan("subject7", long, **options)
    assert whole.engine.pool == before  # no page was encoded
    ranking = whole.rank("subject7", long, **options)
    assert plan.tokens == ranking.tokens
    assert (plan.pages, plan.passes) == (ranking.pages, ranking.windows)
    assert (plan.first_stage, plan.strategy) == (ranking.first_stage, ranking.strategy)
    assert plan.read == sum(bool(page.passes) for page in whole.rank("subject7", long, **{**options, "top_k": None}))
    encoded = 60 if options.get("first_stage") == "relevance" else plan.read
    rows = -(-ranking[0].tokens // 32) * 32  # whole blocks
    assert plan.feature_bytes == encoded * rows * whole.engine.info["row_bytes"]
    assert plan.skipped == ()


def test_without_a_query_as_many_pages_are_read_as_for_one(whole: Reranker, long: bytes) -> None:
    asked, any_query = (whole.plan(query, long, 5) for query in ("subject7", None))
    assert (any_query.read, any_query.first_stage) == (asked.read, asked.first_stage) == (20, "text")
    assert any_query.tokens.visual == asked.tokens.visual
    assert any_query.tokens.text < asked.tokens.text
    assert whole.plan(None, long, first_stage="none").read == 60
    assert whole.plan(None, long, candidates=9).read == 9


@pytest.mark.parametrize("first", ["", "- * -"])
def test_the_first_page_need_not_have_words(whole: Reranker, first: str) -> None:
    def draw(canvas: Canvas, page: int) -> None:
        canvas.drawString(20, 370, f"subject{page}" if page else first)

    pages = drawn_pdf(partial(draw, page=page) for page in range(40))
    plan = whole.plan(None, pages, 5)
    assert (plan.read, plan.first_stage, plan.passes) == (20, "text", 1)


def test_a_plan_by_relevance_reads_no_texts(whole: Reranker, long: bytes) -> None:
    assert whole.plan(None, long, first_stage="relevance").first_stage == "relevance"
    assert whole._texts.read == 0


def test_pages_of_a_pdf_that_were_ranked_cost_no_encoding(whole: Reranker, long: bytes) -> None:
    before = whole.plan("subject7", long)
    whole.rank("subject7", long)
    after = whole.plan("subject7", long)
    assert (before.cached, after.cached) == (0, 20)
    assert before.estimate.vision == pytest.approx(GIVEN.token_ms * before.tokens.visual)
    assert after.estimate.vision == 0
    assert whole.for_owner("another").plan("subject7", long).cached == 0
    assert whole.plan("subject7", document(59)).cached == 0  # another file, though of the same pages


def test_relevance_encodes_every_page_once(whole: Reranker, long: bytes) -> None:
    def plan() -> RankingPlan:
        return whole.plan("subject7", long, 5, first_stage="relevance")

    before = plan()
    assert (before.read, before.first_stage) == (20, "relevance")
    assert before.estimate.vision == pytest.approx(GIVEN.token_ms * before.tokens.visual / 20 * 60)
    assert whole.plan(None, long, 5, first_stage="relevance").estimate.vision == before.estimate.vision
    whole.rank("subject7", long, 5, first_stage="relevance")
    after = plan()
    assert (before.cached, after.cached) == (0, 60)
    assert (after.estimate.vision, after.estimate.pages) == (0, 0)
    assert after.estimate.rerank == before.estimate.rerank


def test_feature_bytes_are_a_pool_in_which_the_next_query_finds_all_pages(small_pages: Path, long: bytes) -> None:
    with Reranker.from_bundle(small_pages, blank="keep", check="size") as reranker:
        reranker.measured.given = GIVEN
        plan = reranker.plan(None, long, 5, first_stage="relevance")
        assert plan.feature_bytes is not None
    with Reranker.from_bundle(small_pages, blank="keep", check="size", pool_bytes=plan.feature_bytes) as reranker:
        for query in ("subject7", "line"):
            reranker.rank(query, long, 5, first_stage="relevance")
        assert (reranker.engine.pool["misses"], reranker.engine.pool["evictions"]) == (60, 0)


def test_a_budget_behind_relevance_relates_once(whole: Reranker, long: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    filled = []
    over = OpenWindow.over

    def counted(self: OpenWindow, indices: Sequence[int], *more: Any) -> WindowLike:
        filled.append(len(indices))
        return over(self, indices, *more)

    monkeypatch.setattr(OpenWindow, "over", counted)
    ranking = whole.rank("subject7", long, 3, first_stage="relevance", budget_ms=1)
    assert filled == [20, 20, 20, 3]  # although it was planned for six numbers of candidates
    assert ranking.budget is not None
    assert (ranking.budget.fits, ranking.budget.candidates) == (False, 3)
    assert sum(bool(page.passes) for page in ranking) == 3


def test_a_plan_knows_what_has_given_way(small_pages: Path, long: bytes) -> None:
    """The pool drops pages for those of another file, and what a plan counts is what the ranking finds."""
    whole = Reranker.from_bundle(small_pages, blank="keep", check="size")
    each = whole.engine.info["row_bytes"] * 96  # of a page: three blocks of 32 rows
    with Reranker.from_bundle(small_pages, blank="keep", check="size", pool_bytes=30 * each) as reranker:
        reranker.measured.given = GIVEN
        assert reranker.engine.pool["rows"] == 30 * 96
        reranker.rank("subject7", long)
        assert reranker.plan("subject7", long).cached == 20
        reranker.rank("line", document(15, "other"))
        plan, before = reranker.plan("subject7", long), reranker.engine.pool
        reranker.rank("subject7", long)
        hits = reranker.engine.pool["hits"] - before["hits"]
        assert plan.cached == hits == 15
        assert plan.estimate.vision == pytest.approx(GIVEN.token_ms * plan.tokens.visual / 20 * 5)


def test_work_is_counted_over_passes() -> None:
    windows = Plan(5, 3, (2, 0))
    work = count_work(windows, [10, 20, 30, 40, 0], {1}, 0.5, 0.2, lambda places: 100 * len(places))
    # blank: 2, 4, 6, 8; kept: 5, 10, 15, 20; the windows hold 30, 40, 0 and 10, 20, 30
    assert work.tokens == Tokens(text=600, visual=130, blank=26, kept=65)
    assert work.passes == (300 + 35, 300 + 30)
    assert (work.new, work.rendered) == (8 + 24 + 32, 3)
    more = count_work(windows, [10, 20, 30, 40, 0], {1}, 0.5, 0.2, lambda places: 100 * len(places), [50, 60])
    assert (more.new, more.rendered) == (8 + 24 + 32 + 40 + 48, 5)
    assert (more.tokens, more.passes) == (work.tokens, work.passes)


def test_kept_tokens_are_no_more_than_those_that_are_not_blank() -> None:
    assert count_work(Plan(1, 1, (0,)), [100], set(), 0.9, 0.3, lambda _: 0).tokens.kept == 70


def test_groups_of_a_partition_hold_their_pivot() -> None:
    partition = plan_partition(50, 20, 5)
    work = count_work(partition, [1] * 50, set(), 1.0, 0.0, lambda _: 0)
    assert work.passes == (20, *(1 + len(group) for group in partition.groups), 20)


def test_an_estimate_is_the_rates_times_the_work() -> None:
    work = count_work(Plan(4, 2, (2, 0)), [10, 10, 10, 10], set(), 1.0, 0.0, lambda _: 5)
    found = estimate(work, Rates(page_ms=90.0, token_ms=2.0, pass_ms=(1.0, 0.5, 0.01), renderers=3), spent=4.0)
    assert found.vision == 80
    assert found.rerank == pytest.approx(2 * (1 + 0.5 * 25 + 0.01 * 625))
    assert found.pages == 90 + (3 * 90 / 3 - 80 * 3 / 4)  # the others, less the vision tower's time before them
    assert found.total == pytest.approx(found.pages + found.vision + found.rerank + 4)


@pytest.mark.parametrize("wanted", [(0.0, 2.0, 0.0), (50.0, 2.0, 0.0), (0.0, 1.0, 0.004), (9.0, 1.5, 0.002)])
def test_passes_are_fitted(wanted: tuple[float, float, float]) -> None:
    found = fit_passes([(tokens, sum(c * tokens**i for i, c in enumerate(wanted))) for tokens in (40, 300, 900, 5000)])
    rates = Rates(0.0, 0.0, found)
    for tokens in (100, 2000, 8000):
        assert rates.of_pass(tokens) == pytest.approx(sum(c * tokens**i for i, c in enumerate(wanted)), rel=0.02)


def test_passes_of_one_length_are_taken_to_be_proportional() -> None:
    assert Rates(0.0, 0.0, fit_passes([(500, 100.0), (500, 102.0), (500, 101.0)])).of_pass(50) == pytest.approx(
        10.1, rel=0.01
    )


def test_rankings_are_measured(small_pages: Path, long: bytes) -> None:
    reranker = Reranker.from_bundle(small_pages, check="size")
    assert reranker.measured.rates() is None
    ranking = reranker.rank("subject7", long)
    found = reranker.measured.rates()
    assert found is not None
    assert (found.page_source, found.token_source, found.pass_source) == ("rankings",) * 3
    assert found.blank == pytest.approx(ranking.tokens.blank / ranking.tokens.visual)
    read = ranking.tokens.visual - ranking.tokens.blank
    assert 0 < found.token_ms * read <= ranking.timings.vision
    assert found.of_pass(ranking.tokens.text + ranking.tokens.kept) == pytest.approx(ranking.timings.rerank)
    assert found.page_ms > 0
    assert reranker.plan("subject7", long).rates == found  # without a calibration


def test_blank_pages_say_nothing_of_the_vision_tower(small_pages: Path) -> None:
    reranker = Reranker.from_bundle(small_pages, check="size", blank="drop")
    reranker.rank("fish soup", np.full((256, 256, 3), 255, np.uint8))
    assert reranker.measured.rates() is None


def test_a_calibration_runs_what_it_says(small_pages: Path, long: bytes) -> None:
    reranker = Reranker.from_bundle(small_pages, check="size")
    passes, encoded = [], []
    window = reranker.engine.window

    class Window:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def encode(self, slot: int, pixels: np.ndarray) -> bool:
            encoded.append(pixels.shape)
            return bool(self._inner.encode(slot, pixels))

        def score(self, ids: Any, mask: Any, ratio: float) -> Any:
            passes.append(ratio)
            return self._inner.score(ids, mask, ratio)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    class Engine:
        def window(self, sizes: Any, *, owner: str = "") -> Any:
            assert owner == OWNER
            return Window(window(sizes, owner=owner))

        def __getattr__(self, name: str) -> Any:
            return getattr(reranker.engine, name)

    other = Reranker(reranker.bundle, Engine())
    plan = other.plan("subject7", long)
    assert passes == [0.25, 0.25, 1.0]
    assert len(encoded) == 2
    assert reranker.engine.pool["misses"] == 2
    rates = plan.rates
    assert (rates.page_source, rates.token_source, rates.pass_source) == ("calibration",) * 3
    assert 0 < rates.blank < 1
    other.plan("subject7", long)
    assert len(passes) == 3  # once


def test_a_calibration_goes_by_its_clock(small_pages: Path) -> None:
    """A clock that advances by 1, 2, 3 ... seconds between two readings, so that each step has its own time."""
    reranker = Reranker.from_bundle(small_pages, check="size")
    readings = itertools.accumulate(itertools.count())
    with Passes(None) as passes:
        rates, counted = calibrate(
            reranker.bundle,
            reranker.engine,
            reranker.prompts,
            reranker.page_limits,
            passes,
            lambda: float(next(readings)),
        )
    # begun and ended in turn: pages 1, 3, 5 s; encoding 7, 9 s; passes 11, 13, 15 s
    assert rates.page_ms == 3000
    # less what the engine says that passes waited for pages, by its own clock
    assert [ms for _, ms in counted] == pytest.approx([13000, 15000], abs=900)
    assert rates.pass_ms == fit_passes(counted)
    (quarter, _), (whole, _) = counted
    with open_pages(made_page(), reranker.bundle.image) as (page,):
        tokens = page.size[0] * page.size[1] // reranker.bundle.image.factor**2
    assert 0 < quarter < whole
    assert rates.token_ms == pytest.approx(9000 / (tokens * (1 - rates.blank)), rel=0.1)


def test_the_made_page_is_sound(reranker: Reranker) -> None:
    with open_pages(made_page(), reranker.bundle.image) as (page,):
        prepared = page.read()  # type: ignore[attr-defined]
    assert prepared.warnings == ()
    inked = prepared.pixels.min(axis=2) < 200
    assert 0.05 < inked.mean() < 0.5
    assert inked.any(axis=1).sum() > prepared.pixels.shape[0] // 2  # lines down most of the page


def test_observations_are_medians() -> None:
    measured = Measured(renderers=2)
    for ms in (1.0, 5.0, 900.0):
        measured.rendered(ms)
        measured.encoded(10, 10 * ms, 0.25)
    measured.passed(100, 50.0)
    assert measured.rates() == Rates(5.0, 5.0, (0.0, 0.5, 0.0), 0.25, 2, "rankings", "rankings", "rankings")


def test_a_plan_names_what_cannot_be_opened(whole: Reranker, long: bytes) -> None:
    plan = whole.plan("subject7", [long, "not-there.pdf"], on_bad_page="skip")
    assert (plan.pages, [note.index for note in plan.skipped]) == (60, [60])
    with pytest.raises(PageError, match=r"not-there\.pdf"):
        whole.plan("subject7", [long, "not-there.pdf"])


@pytest.mark.parametrize(
    "values", [(-1.0, 1.0, (0, 1, 0)), (1.0, float("nan"), (0, 1, 0)), (1.0, 1.0, (0, -1, 0)), (1.0, 1.0, (0, 1))]
)
def test_rates_are_checked(values: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidInput):
        Rates(*values)


def ziprerank(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from ziprerank.cli.app import app; app()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_line_plans(small_pages: Path, whole: Reranker, long: bytes, tmp_path: Path) -> None:
    file = tmp_path / "long.pdf"
    file.write_bytes(long)
    options = ["--bundle", small_pages, "--blank", "keep", "--top-k", "3", "--query", "subject7"]
    done = ziprerank("plan", file, *options, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told, expected = json.loads(done.stdout), whole.plan("subject7", file, 3).to_dict()
    measured = ("estimate_ms", "rates")
    assert {name: value for name, value in told.items() if name not in measured} == {
        name: value for name, value in expected.items() if name not in measured
    }
    assert told["rates"]["from"] == {"pages": "calibration", "vision": "calibration", "rerank": "calibration"}
    assert told["estimate_ms"]["total"] > 0
    done = ziprerank("plan", file, "--bundle", small_pages)
    assert done.returncode == 0, done.stderr
    assert "a calibration on a made page" in done.stdout
