"""An order out of what a language model wrote: ``[B] > [A]``, and what it gets wrong about that, counted."""

from __future__ import annotations

import re
from dataclasses import dataclass

LETTERS = "ABCDEFGHIJKLMNOPQRST"

_ITEM = r"[*`]*\[?[*`]*([A-Za-z])[*`]*\]?[*`]*"  # brackets, bold and code marks or none
_CHAIN = re.compile(rf"(?<!\w){_ITEM}(?:\s*(?:>|&gt;)\s*{_ITEM})+(?!\w)")
_LIST = re.compile(r"\[[A-Za-z]\](?:[^A-Za-z\[\]]+\[[A-Za-z]\])+")
_NUMBERED = re.compile(rf"^\s*\d+[.)]\s*{_ITEM}(?!\w)", re.MULTILINE)
_BRACKETED = re.compile(r"\[([A-Za-z])\]")
_LETTER = re.compile(r"(?<!\w)[A-Za-z](?!\w)")


@dataclass(frozen=True, slots=True)
class Answer:
    """An order of all candidates, and how much of it the model gave."""

    order: tuple[int, ...]
    """every candidate once; ``order[: len(order) - missing]`` is the model's"""
    missing: int
    """candidates it left out, put at the end in the order given"""
    repeated: int
    """mentions of a candidate after its first, dropped"""
    unknown: int
    """letters that are no candidate's, dropped"""


def parse_order(text: str, count: int) -> Answer | None:
    """Read an order of ``count`` candidates named ``A``, ``B``... out of a model's answer.

    The first of these that the text has: chains ``[B] > [A]``, with or without brackets; letters in brackets with no
    words between them, such as ``[B], [A]``; a numbered list whose lines begin with a letter; one letter in brackets; a
    letter that is the whole answer. Of several chains the one that names the most candidates, and of those the last, so
    that a first attempt or an example before it does not count. Bold and case do not matter.

    Returns:
        None if the text has none of them or they name no candidate.
    """
    chains = [_LETTER.findall(match[0].replace("&gt;", ">")) for match in _CHAIN.finditer(text)]
    lists = [_BRACKETED.findall(match[0]) for match in _LIST.finditer(text)]
    bracketed = _BRACKETED.findall(text)
    readings = [chains, lists, [_NUMBERED.findall(text)], [bracketed] if len(set(bracketed)) == 1 else []]
    for found in [*readings, [[text.strip(" .*`\n")]]]:
        ways = [_indices(letters) for letters in reversed(found)]
        indices = max(ways, key=lambda way: _named(way, count), default=[])
        if _named(indices, count):
            break
    else:
        return None
    known = [index for index in indices if 0 <= index < count]
    first = tuple(dict.fromkeys(known))
    rest = tuple(index for index in range(count) if index not in first)
    return Answer(first + rest, len(rest), len(known) - len(first), len(indices) - len(known))


def _indices(letters: list[str]) -> list[int]:
    return [LETTERS.find(letter.upper()) if len(letter) == 1 else -1 for letter in letters]


def _named(indices: list[int], count: int) -> int:
    """How many different candidates."""
    return len({index for index in indices if 0 <= index < count})
