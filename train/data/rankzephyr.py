r"""RankZephyr's training set: conversations of a prompt with passages and a teacher's order, numbered or lettered.

The rows of castorini's RankZephyr set (identifiers ``[1]``..``[20]``) and of FIRST's conversion of it (identifiers
``[A]``..``[T]``), on which ZipRerank's first stage was trained, as read by rank_llm's and FIRST's training scripts:

    {"id": "...", "conversations": [
      {"from": "system", "value": "You are RankLLM, ..."},                                          <- may be absent
      {"from": "human", "value": "I will provide you with 3 passages, ... search query: QUERY.\n\n
                                  [1] PASSAGE\n[2] PASSAGE\n[3] PASSAGE\n\n
                                  Search Query: QUERY.\nRank the 3 passages above based on ..."},
      {"from": "gpt", "value": "[2] > [1] > [3]"}]}

``from`` may be absent from all turns; then they are taken in this order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ziprerank.train.errors import TrainError

from .examples import MOST_CANDIDATES, ListwiseExample
from .parquet import data_rows
from .rows import Faults, skipping

LETTERS = "ABCDEFGHIJKLMNOPQRST"
ROLES = ("system", "human", "gpt")
ORDER = re.compile(r"\s*\[(\d{1,3}|[A-Z])\](\s*>\s*\[(\d{1,3}|[A-Z])\])*\s*")
_STATED = re.compile(r"Rank the (\d+) passages above")


def read_rankzephyr(path: Path, faults: Faults | None = None) -> Iterator[ListwiseExample]:
    """Stream the examples of a file of such conversations: a JSON array, JSON lines, or Parquet.

    The query is the text between the last ``Search Query:`` and ``Rank the N passages above``, without the full stop
    that the template adds. An order may leave passages out.

    Args:
        faults: called with the error of each faulty row, which is then skipped; without it the error is raised.

    Raises:
        TrainError: names the file and row at fault and what it lacks.
    """
    for name, row in data_rows(path, faults):
        yield from skipping(partial(_example, row, name), name, faults)


def _example(row: Mapping[str, Any], name: str) -> ListwiseExample:
    prompt, answer = _turns(row)
    head, mark, tail = prompt.rpartition("\nSearch Query:")
    if not mark:
        raise TrainError("the human turn has no line that begins with 'Search Query:'")
    stated = _STATED.search(tail)
    if stated is None:
        raise TrainError("the human turn has no 'Rank the N passages above' after 'Search Query:'")
    query = tail[: stated.start()].strip().removesuffix(".").rstrip()
    if not ORDER.fullmatch(answer):
        raise TrainError(f"the gpt turn is {answer!r:.80}: it must be an order such as '[2] > [1]' or '[B] > [A]'")
    identifiers = re.findall(r"\[(\w+)\]", answer)
    lettered = identifiers[0].isalpha()
    passages = _passages(head, lettered)
    if len(passages) != int(stated[1]):
        kind = "letters" if lettered else "numbers"
        raise TrainError(f"{len(passages)} passages with {kind} in sequence, but 'Rank the {stated[1]} passages above'")
    if any(identifier.isalpha() != lettered for identifier in identifiers):
        raise TrainError(f"the gpt turn mixes numbers and letters: {answer!r:.80}")
    order = tuple(ord(item) - ord("A") if lettered else int(item) - 1 for item in identifiers)
    return ListwiseExample(query, tuple(passages), order, str(row.get("id", name)))


def _turns(row: Mapping[str, Any]) -> tuple[str, str]:
    """The values of the human and the gpt turn."""
    turns = row.get("conversations")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise TrainError(f"'conversations' is {turns!r:.80}: it must be a list of turns {{'from': ..., 'value': ...}}")
    if len(turns) not in (2, 3):
        raise TrainError(f"{len(turns)} turns: there must be human and gpt, or system, human and gpt")
    roles = [turn.get("from") for turn in turns]
    if any(role is not None for role in roles) and roles != list(ROLES[-len(turns) :]):
        raise TrainError(f"the turns are from {roles}: they must be from {', '.join(ROLES[-len(turns) :])}")
    values = [turn.get("value") for turn in turns]
    prompt, answer = values[-2:]
    if not isinstance(prompt, str) or not isinstance(answer, str):
        raise TrainError(f"the values of the human and gpt turns are {values[-2:]!r:.80}: they must be strings")
    return prompt, answer


def _passages(text: str, lettered: bool) -> list[str]:
    """The passages behind ``[1]``, ``[2]``... or ``[A]``, ``[B]``... at the beginning of a line, in sequence.

    Looking for one identifier after the other leaves a line such as ``[7] cited`` inside passage 2 where it is.
    """
    starts: list[tuple[int, int]] = []  # of the identifier, of the text
    position = 0
    for number in range(MOST_CANDIDATES + 1):
        identifier = LETTERS[number : number + 1] if lettered else str(number + 1)
        found = re.compile(rf"(?:^|\n)\[{identifier}\][ \t]").search(text, position) if identifier else None
        if found is None:
            break
        starts.append(found.span())
        position = found.end()
    ends = [start for start, _ in starts[1:]] + [len(text)]
    return [text[begin:end].strip() for (_, begin), end in zip(starts, ends, strict=False)]  # one end too many if none
