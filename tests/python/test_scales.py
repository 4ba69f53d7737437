"""One contract for scores: sorted by any scale, the pages are the ranking, over any number of passes."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from ziprerank.bundle import Defaults
from ziprerank.errors import InvalidInput
from ziprerank.first_stage.stage import Choice
from ziprerank.ranking import RankedPage
from ziprerank.scales import SCALES, check_scale, falling, sigmoid
from ziprerank.scored import Scored, ranked_pages
from ziprerank.windows import plan_windows, run_windows

DEFAULTS = Defaults(keep_ratio=0.5, window=20, stride=10, prune_text="all_before_image")


class Sheet:
    """A page of which only the size is asked for."""

    source, page, size = "sheet", None, (64, 96)


def softmax(logits: Sequence[float]) -> list[float]:
    weights = np.exp(np.asarray(logits) - max(logits))
    return [float(share) for share in weights / weights.sum()]


def noisy_pass(draw: random.Random, spread: float, ties: bool) -> Callable[[int, Sequence[int]], list[Scored]]:
    """A ranker whose passes share nothing: each has logits of its own, at an offset of its own."""

    def score(_step: int, places: Sequence[int]) -> list[Scored]:
        offset = draw.gauss(0, spread)
        logits = [offset + draw.gauss(0, spread) for _ in places]
        if ties:
            logits = [round(logit) * 1.0 for logit in logits]
        logits = [float(np.float32(logit)) for logit in logits]
        return [Scored(logit, share, (0,)) for logit, share in zip(logits, softmax(logits), strict=True)]

    return score


def random_ranking(seed: int) -> tuple[tuple[RankedPage, ...], dict[int, Scored], int]:
    """A ranking of up to 120 pages, what the last pass with each page said of it, and the width of a pass."""
    draw = random.Random(seed)
    pages, window = draw.randint(1, 120), draw.randint(2, 20)
    plan = plan_windows(pages, window, draw.randint(1, window - 1), DEFAULTS)
    score = noisy_pass(draw, draw.choice([0.01, 1.0, 40.0, 1e6]), ties=draw.random() < 0.3)
    outcome = run_windows(plan, score, key=lambda one: one.score)
    sheets = [Sheet()] * pages
    ranked = ranked_pages(outcome, Choice(tuple(range(pages))), sheets, {}, None, 32)  # type: ignore[arg-type]
    return ranked, outcome.latest, plan.width


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("seed", range(60))
def test_sorted_by_score_is_the_ranking(seed: int, scale: str) -> None:
    ranked, _, _ = random_ranking(seed)
    sent = json.loads(json.dumps([[page.index, page.on_scale(check_scale(scale))] for page in ranked]))
    draw = random.Random(seed)
    draw.shuffle(sent)  # a client has them in any order
    order = [page.index for page in ranked]
    assert [index for index, _ in sorted(sent, key=lambda one: -one[1])] == order
    assert [index for index, _ in sorted(sent, key=lambda one: -np.float32(one[1]))] == order  # as trec_eval keeps them
    assert len({np.float32(score) for _, score in sent}) == len(sent)
    assert all(math.isfinite(score) for _, score in sent)
    if scale != "logit":
        assert all(0 <= score <= 1 for _, score in sent)


@pytest.mark.parametrize("seed", range(60))
def test_a_score_is_what_the_model_said_unless_a_page_above_has_less(seed: int) -> None:
    ranked, said, width = random_ranking(seed)
    least = math.inf
    for page in ranked:
        own = said[page.index].score
        if own < least:
            assert page.score == own
        else:
            assert page.score == float(np.nextafter(np.float32(least), np.float32(-np.inf)))
        least = page.score
    logits = [said[page.index].score for page in ranked[:width]]  # of the last pass
    if len(set(logits)) == len(logits):
        assert [page.score for page in ranked[:width]] == logits


@pytest.mark.parametrize("seed", range(20))
def test_scores_do_not_depend_on_how_many_pages_are_asked_for(seed: int) -> None:
    draw = random.Random(seed)
    plan = plan_windows(50, 20, 10, DEFAULTS)
    outcome = run_windows(plan, noisy_pass(draw, 300.0, ties=False), key=lambda one: one.score)
    sheets = [Sheet()] * 50
    every = ranked_pages(outcome, Choice(tuple(range(50))), sheets, {}, None, 32)  # type: ignore[arg-type]
    assert ranked_pages(outcome, Choice(tuple(range(50))), sheets, {}, 3, 32) == every[:3]  # type: ignore[arg-type]


def test_pages_that_the_model_has_not_read_come_last() -> None:
    draw = random.Random(5)
    plan = plan_windows(30, 20, 10, DEFAULTS)
    outcome = run_windows(plan, noisy_pass(draw, 1.0, ties=False), key=lambda one: one.score)
    choice = Choice(tuple(range(40, 70)), tuple(range(40)), "text")
    ranked = ranked_pages(outcome, choice, [Sheet()] * 70, {}, None, 32)  # type: ignore[list-item]
    assert [page.index for page in ranked[30:]] == list(range(40))
    assert all(page.passes and page.kept for page in ranked[:30])
    assert not any(page.passes or page.kept for page in ranked[30:])
    for scale in SCALES:
        scores = [np.float32(page.on_scale(scale)) for page in ranked]
        assert scores == sorted(set(scores), reverse=True)


def test_no_room_left_above_the_least() -> None:
    found = falling([1.0, 0.0, 0.0, 0.0], 0.0)
    assert found[0] == 1.0
    assert found[-1] == 0.0
    assert sorted({np.float32(one) for one in found}, reverse=True) == [np.float32(one) for one in found]


def test_sigmoid() -> None:
    for logit in (-1e9, -800.0, -3.0, 0.0, 1e-3, 5.0, 800.0, 1e9):
        wanted = 1 / (1 + math.exp(-logit)) if abs(logit) < 700 else float(logit > 0)
        assert sigmoid(logit) == pytest.approx(wanted, rel=1e-12)


def test_an_unknown_scale_is_named() -> None:
    with pytest.raises(InvalidInput, match="scale 'points': must be 'probability', 'sigmoid' or 'logit'"):
        check_scale("points")
