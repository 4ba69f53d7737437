"""Orders out of what models write."""

from __future__ import annotations

import random

import pytest
from ziprerank.train.teachers.answer import LETTERS, parse_order


@pytest.mark.parametrize(
    ("text", "order", "missing", "repeated", "unknown"),
    [
        ("[B] > [A] > [C]", "BAC", 0, 0, 0),
        ("[B]>[A]>[C]\n", "BAC", 0, 0, 0),
        ("[b] > [a] > [c]", "BAC", 0, 0, 0),
        ("B > A > C.", "BAC", 0, 0, 0),
        ("**[B]** > **[A]** > **[C]**", "BAC", 0, 0, 0),
        ("**B** > `A` > C", "BAC", 0, 0, 0),
        ("[B] &gt; [A] &gt; [C]", "BAC", 0, 0, 0),
        ("[B], [A], [C]", "BAC", 0, 0, 0),
        ("[B]\n[A]\n[C]", "BAC", 0, 0, 0),
        ("1. [B]\n2. [A]\n3. [C]", "BAC", 0, 0, 0),
        ("1. [B]: it says so\n2. **A** - less\n3) C\n", "BAC", 0, 0, 0),
        ("Page [A] is a title page. The order is [C] > [A] > [B]; [B] is last.", "CAB", 0, 0, 0),
        ("First I thought [A] > [B] > [C], but it is [C] > [B] > [A].", "CBA", 0, 0, 0),
        ("The form is [C] > [A]. So: [B] > [A] > [C]", "BAC", 0, 0, 0),
        ("[C] > [A", "CAB", 1, 0, 0),
        ("[C] > [A] > [", "CAB", 1, 0, 0),
        ("[C]", "CAB", 2, 0, 0),
        ("The best is [C], clearly [C].", "CAB", 2, 1, 0),
        (" **c**.", "CAB", 2, 0, 0),
        ("[C] > [A] > [C] > [B] > [A]", "CAB", 0, 2, 0),
        ("[Z] > [C] > [D] > [A] > [B]", "CAB", 0, 0, 2),
        ("x > 3 and [B] > [C] > [A]", "BCA", 0, 0, 0),
    ],
)
def test_forms(text: str, order: str, missing: int, repeated: int, unknown: int) -> None:
    answer = parse_order(text, 3)
    assert answer is not None
    assert "".join(LETTERS[index] for index in answer.order) == order
    assert (answer.missing, answer.repeated, answer.unknown) == (missing, repeated, unknown)


@pytest.mark.parametrize(
    "text",
    ["", "I cannot see the images.", "[Z] > [Y]", "a page", "[A] is no help, [B] is better", "x > y"],
)
def test_no_order(text: str) -> None:
    assert parse_order(text, 3) is None


def test_any_partial_chain_is_completed_in_the_order_given() -> None:
    rng = random.Random(0)
    for _ in range(100):
        count = rng.randint(1, 20)
        named = rng.sample(range(count), rng.randint(1, count))
        answer = parse_order(" > ".join(f"[{LETTERS[index]}]" for index in named), count)
        assert answer is not None
        assert list(answer.order) == named + [index for index in range(count) if index not in named]
        assert answer.missing == count - len(named)
