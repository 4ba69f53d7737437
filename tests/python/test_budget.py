"""A budget chooses candidates and keep ratio by the estimate alone, and nothing that the caller has chosen."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pdf_files import drawn_pdf
from PIL import Image
from reportlab.pdfgen.canvas import Canvas
from slow_reranker import HUGE, slow_reranker
from ziprerank.budget import budget_of, within_budget
from ziprerank.errors import InvalidInput
from ziprerank.profiling.meter import Meter
from ziprerank.reranker import Reranker
from ziprerank.runtime.rates import Rates

QUERY = "subject7 line"


def document(pages: int, *, text: bool = True) -> bytes:
    def draw(canvas: Canvas, page: int) -> None:
        canvas.rect(20, 20, 200, 3 * page + 20, fill=1)
        if text:
            canvas.drawString(20, 370, f"subject{page} and a line of what is said about it")

    return drawn_pdf(partial(draw, page=page) for page in range(pages))


@pytest.fixture(scope="module")
def long() -> bytes:
    return document(60)


@pytest.fixture
def slow(small_pages: Path) -> Reranker:
    return slow_reranker(small_pages)


def read(reranker: Reranker, pages: Any, **options: Any) -> int:
    """Tokens of all passes of a ranking without a budget, which are its whole cost here."""
    tokens = reranker.rank(QUERY, pages, **options).tokens
    return tokens.text + tokens.kept


def test_a_budget_with_room_changes_nothing(slow: Reranker, long: bytes) -> None:
    usual = slow.rank(QUERY, long, 3)
    ranking = slow.rank(QUERY, long, 3, budget_ms=1e15)
    assert ranking.results == usual.results
    assert usual.budget is None
    assert "budget" not in usual.to_dict()
    assert ranking.budget is not None
    assert (ranking.budget.candidates, ranking.budget.keep_ratio) == (20, slow.bundle.defaults.keep_ratio)
    assert ranking.budget.estimated_ms == pytest.approx(HUGE * read(slow, long, top_k=3), rel=1e-3)


@pytest.mark.parametrize(
    ("candidates", "keep_ratio"), [(20, 0.35), (20, 0.25), (15, 0.5), (10, 0.25), (5, 0.35), (3, 0.25), (3, 0.1)]
)
def test_the_first_choice_that_fits_is_made(slow: Reranker, long: bytes, candidates: int, keep_ratio: float) -> None:
    cost = read(slow, long, top_k=3, candidates=candidates, keep_ratio=keep_ratio)
    ranking = slow.rank(QUERY, long, 3, budget_ms=HUGE * (cost + 0.5))
    assert ranking.budget is not None
    chosen = ranking.budget
    # what comes before it in the order of the docs costs more, or it would have been chosen
    order = [*itertools.product((20, 15, 10, 7, 5, 3), (0.5, 0.35, 0.25)), (3, 0.15), (3, 0.1)]
    costs = {one: read(slow, long, top_k=3, candidates=one[0], keep_ratio=one[1]) for one in order}
    expected = next(one for one in order if costs[one] <= cost)
    assert (chosen.candidates, chosen.keep_ratio) == expected
    assert chosen.fits
    assert ranking.tokens.text + ranking.tokens.kept == costs[expected]
    every = slow.rank(QUERY, long, budget_ms=chosen.budget_ms)
    assert every.budget is not None
    assert sum(bool(page.passes) for page in every) == every.budget.candidates
    assert {len(page.kept) for page in ranking} == {max(1, round(chosen.keep_ratio * ranking[0].tokens))}
    assert slow.plan(QUERY, long, 3, budget_ms=chosen.budget_ms).to_dict()["budget"]["keep_ratio"] == chosen.keep_ratio


def test_what_is_given_stays(slow: Reranker, long: bytes) -> None:
    ranking = slow.rank(QUERY, long, 3, candidates=20, budget_ms=1.0)
    assert ranking.budget is not None
    assert (ranking.budget.candidates, ranking.budget.keep_ratio) == (20, 0.1)
    ranking = slow.rank(QUERY, long, 3, keep_ratio=0.5, budget_ms=1.0)
    assert ranking.budget is not None
    assert (ranking.budget.candidates, ranking.budget.keep_ratio) == (3, 0.5)
    ranking = slow.rank(QUERY, long, 3, keep_ratio=0.5, candidates=20, budget_ms=1.0)
    assert ranking.budget is not None
    assert (ranking.budget.candidates, ranking.budget.keep_ratio) == (20, 0.5)
    assert ranking.results == slow.rank(QUERY, long, 3, keep_ratio=0.5).results


def test_a_budget_that_nothing_meets_takes_the_cheapest_and_says_so(slow: Reranker, long: bytes) -> None:
    ranking = slow.rank(QUERY, long, 3, budget_ms=1.0)
    assert ranking.budget is not None
    assert (ranking.budget.candidates, ranking.budget.keep_ratio) == (3, 0.1)
    assert not ranking.budget.fits
    assert ranking.budget.estimated_ms == pytest.approx(
        HUGE * read(slow, long, top_k=3, candidates=3, keep_ratio=0.1), rel=1e-3
    )
    assert ranking.to_dict()["budget"]["fits"] is False
    assert "over it" in str(ranking.budget)


def test_every_page_asked_for_is_read(slow: Reranker, long: bytes) -> None:
    ranking = slow.rank(QUERY, long, 12, budget_ms=1.0)
    assert ranking.budget is not None
    assert ranking.budget.candidates == 15
    assert all(page.passes for page in ranking)


@pytest.mark.parametrize("text", [True, False])
def test_without_a_first_stage_only_the_keep_ratio_falls(slow: Reranker, text: bool) -> None:
    pages = document(30, text=text)
    ranking = slow.rank(QUERY, pages, 3, first_stage="none" if text else "auto", budget_ms=1.0)
    assert ranking.budget is not None
    assert (ranking.first_stage, ranking.budget.keep_ratio) == ("none", 0.1)
    assert ranking.tokens.visual >= 30 * ranking[0].tokens


def test_pages_in_memory_leave_room(small_pages: Path, long: bytes) -> None:
    reranker = Reranker.from_bundle(small_pages, blank="keep", check="size")
    reranker.measured.given = Rates(0.0, HUGE, (0.0, 0.0, 0.0))
    first = reranker.rank(QUERY, long, 3, budget_ms=HUGE)
    second = reranker.rank(QUERY, long, 3, budget_ms=HUGE)
    assert first.budget is not None
    assert second.budget is not None
    assert (first.budget.candidates, first.budget.fits) == (3, False)
    assert second.budget.candidates == 3  # those are in memory; more would have to be encoded
    assert second.budget.fits


def test_each_query_has_the_budget_to_itself(slow: Reranker, long: bytes) -> None:
    budget = HUGE * (read(slow, long, keep_ratio=0.35, top_k=3) + 0.5)
    together = slow.rank_many([QUERY, "subject9"], long, 3, budget_ms=budget)
    alone = [slow.rank(query, long, 3, budget_ms=budget) for query in (QUERY, "subject9")]
    assert [one.results for one in together] == [one.results for one in alone]
    assert [one.budget.keep_ratio for one in together if one.budget] == [0.35, 0.35]


def test_what_has_passed_is_part_of_the_first_query_s_estimate(
    small_pages: Path, long: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    reranker = Reranker.from_bundle(small_pages, blank="keep", check="size")
    reranker.measured.given = Rates(0.0, 0.0, (0.0, 0.0, 0.0))
    monkeypatch.setattr(Meter, "elapsed", lambda _: 5.0)
    first, second = reranker.rank_many([QUERY, "subject9"], long, 3, budget_ms=100.0)
    assert first.budget is not None
    assert second.budget is not None
    assert (first.budget.estimated_ms, second.budget.estimated_ms) == (5.0, 0.0)


def test_a_bad_call_is_refused_before_the_machine_is_measured(small_pages: Path, long: bytes) -> None:
    reranker = Reranker.from_bundle(small_pages, blank="keep", check="size")
    for bad in ({"query": ""}, {"keep_ratio": 2}, {"top_k": 0}):
        with pytest.raises(InvalidInput):
            reranker.rank(**{"query": QUERY, "pages": long, "budget_ms": 100.0, **bad})  # type: ignore[arg-type]
        with pytest.raises(InvalidInput):
            reranker.plan(**{"query": QUERY, "pages": long, **bad})  # type: ignore[arg-type]
    assert reranker.measured.rates() is None


def test_a_ranking_that_begins_again_chooses_again(
    slow: Reranker, noise: Callable[[int, int, int], np.ndarray], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    Image.fromarray(noise(256, 256, 9)).save(bad)
    bad.write_bytes(bad.read_bytes()[:-400])
    pages = [bad, *(noise(256, 256, seed) for seed in range(3))]
    good = read(slow, pages[1:])
    ranking = slow.rank(QUERY, pages, on_bad_page="skip", budget_ms=HUGE * (good + 0.5))
    assert [note.index for note in ranking.skipped] == [0]
    assert ranking.budget is not None
    assert ranking.budget.keep_ratio == slow.bundle.defaults.keep_ratio


def test_choices_are_made_by_estimates_alone() -> None:
    budget = budget_of(100.0, 20, 0.5, None, fixed_candidates=False, fixed_ratio=False)
    tried: list[tuple[int, float]] = []

    def takes(candidates: int, ratio: float) -> float:
        tried.append((candidates, ratio))
        return candidates * ratio * 50

    plan, choice = within_budget(budget, lambda candidates: candidates, takes)
    assert tried[-1] == (plan, choice.keep_ratio) == (7, 0.25)
    assert choice.estimated_ms == 87.5
    assert tried[:4] == [(20, 0.5), (20, 0.35), (20, 0.25), (15, 0.5)]


def test_of_equal_costs_the_best_is_chosen() -> None:
    budget = budget_of(1.0, 20, 0.5, None, fixed_candidates=False, fixed_ratio=False)
    _, choice = within_budget(budget, lambda candidates: candidates, lambda *_: 7.0)
    assert (choice.candidates, choice.keep_ratio, choice.fits) == (20, 0.5, False)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "500", True])
def test_a_bad_budget_is_named(reranker: Reranker, long: bytes, value: Any) -> None:
    with pytest.raises(InvalidInput, match="budget_ms"):
        reranker.rank(QUERY, long, budget_ms=value)
