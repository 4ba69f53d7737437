"""Queries drawn from pages, and the candidates they are found among."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from ziprerank.train.data.page_store import StoredPage
from ziprerank.train.stages.finding import View, draw_query, find, plain_word, reworded, view_of
from ziprerank.train.teachers import Candidate
from ziprerank.train.teachers.bm25 import Bm25

WORDS = ["Chapter", "The", "copper", "lantern,", "(harbour)", "--", "orchard"]


def page() -> StoredPage:
    """128 x 192 px; word i stands in cell (row i // 2, column 3 * (i % 2)), in a box of 20 x 12 px."""
    corners = np.array([[96 * (i % 2) + 4, 32 * (i // 2) + 8] for i in range(len(WORDS))], np.float32)
    boxes = np.concatenate([corners, corners + np.array([20, 12])], axis=1).astype(np.float32)
    count = len(WORDS)
    return StoredPage(
        document="d", number=0, words=WORDS, pixels=np.zeros((128, 192), np.uint8),
        tokens=np.arange(count, dtype=np.int32), token_boxes=boxes, token_words=np.arange(count, dtype=np.int32),
        characters=np.zeros(0, np.uint8), character_boxes=np.zeros((0, 4), np.float32),
    )  # fmt: skip


def view(words: Sequence[str]) -> View:
    return View(0, 0, 0, 1, len(words), list(words))


def test_a_word_is_compared_without_case_and_punctuation() -> None:
    words = ("Lantern,", "(HARBOUR)", "--", "x86-64.", "\u201cn\u00e4chste\u201d")
    assert [plain_word(word) for word in words] == ["lantern", "harbour", "", "x86-64", "n\u00e4chste"]


def test_a_whole_page_has_all_its_words() -> None:
    whole = view_of(page(), 3, np.random.default_rng(0), 100, 100)
    assert (whole.number, whole.top, whole.left, whole.rows, whole.cols) == (3, 0, 0, 4, 6)
    assert whole.words == ["chapter", "the", "copper", "lantern", "harbour", "", "orchard"]


def test_parts_hold_the_words_inside_them() -> None:
    rng = np.random.default_rng(4)
    seen = set()
    for _ in range(40):
        part = view_of(page(), 0, rng, 2, 3)
        assert (part.rows, part.cols) == (2, 3)
        expected = []
        for index, word in enumerate(WORDS):
            row, col = index // 2 - part.top, 3 * (index % 2) - part.left
            if 0 <= row < 2 and 0 <= col < 3:
                expected.append(plain_word(word))
        assert part.words == expected
        seen.add((part.top, part.left))
    assert len(seen) > 6


def test_queries_are_two_to_eight_words_of_the_page_that_tell_it_apart() -> None:
    rng = np.random.default_rng(1)
    words = [f"{a}{b}" for a in ("copper", "lantern", "orchard") for b in ("", "ing", "ed", "lets")] + ["the", ""] * 5
    rng.shuffle(words)
    others = [{"copper", "the"}, {"copper", "lantern"}, {"orchard"}, set()]
    lengths, phrases = set(), 0
    for _ in range(200):
        query = draw_query(rng, words, others)
        if query is None:
            continue
        asked = query.split()
        lengths.add(len(asked))
        assert set(asked) <= set(words)
        # in at most one of the four others, and no common word
        assert any(word not in ("the", "copper") for word in asked)
        phrases += query in " ".join(word for word in words if word)
    assert {2, 8} <= lengths <= set(range(2, 9))
    assert 40 < phrases < 160
    assert draw_query(rng, ["the", "with", "copper", "lantern"], [set()]) is None
    assert draw_query(rng, ["copper", "lantern", "orchard"], [{"copper", "lantern"}]) is None


def test_the_teacher_puts_the_truth_first() -> None:
    rng = np.random.default_rng(2)
    shared = ["manual", "chapter", "figure"]
    own = [["copper", "lantern", "harbour"], ["orchard", "meadow", "ledger"], ["engine", "signal", "budget"]]
    views = [view([*words, *shared]) for words in own]
    truths = set()
    for _ in range(20):
        found = find(rng, views, Bm25())
        assert found is not None
        assert found.order[0] == found.truth
        assert sorted(found.order) == [0, 1, 2]
        assert set(found.query.split()) & set(own[found.truth])
        truths.add(found.truth)
    assert truths == {0, 1, 2}


class Contrary:
    """A teacher who never agrees."""

    def __init__(self, truth_words: Sequence[set[str]]) -> None:
        self.words, self.asked = truth_words, 0

    def order(self, query: str, candidates: Sequence[Candidate]) -> tuple[int, ...]:
        assert len(candidates) == len(self.words)
        self.asked += 1
        hits = [len(words & set(query.split())) for words in self.words]
        return tuple(int(index) for index in np.argsort(hits, kind="stable"))


def test_queries_that_the_teacher_disputes_are_given_up() -> None:
    views = [view(["copper", "lantern", "harbour"]), view(["orchard", "meadow", "ledger"])]
    teacher = Contrary([set(each.words) for each in views])
    assert find(np.random.default_rng(0), views, teacher, tries=7) is None
    assert 0 < teacher.asked <= 7


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_words_give_no_finding(count: int) -> None:
    views = [view(["copper", "lantern"][:count]), view(["orchard"])]
    assert find(np.random.default_rng(0), views, Bm25()) is None


def test_words_give_way_to_synonyms() -> None:
    synonyms = {"remove": ["delete", "uninstall"], "software": ["program"], "with": ["alongside"]}
    rng = np.random.default_rng(5)
    found = [reworded(rng, "remove software with care", lambda word: synonyms.get(word, [])) for _ in range(300)]
    words = [query.split() for query in found]
    assert {query[0] for query in words} == {"remove", "delete", "uninstall"}
    assert {tuple(query[2:]) for query in words} == {("with", "care")}  # a common word stays
    assert "remove software with care" not in found  # one of the two is replaced, whatever chance says
    both = sum(query[0] != "remove" and query[1] == "program" for query in words) / 300
    assert 0.56 < both < 0.77
    assert reworded(rng, "care with it", lambda _: []) == "care with it"
