"""TREC run files: ``QUERY Q0 PAGE RANK SCORE TAG``, apart by white space."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from ziprerank.errors import InvalidInput
from ziprerank.job_folder import write_whole

Scored = list[tuple[str, float]]
"""Pages of one query with their scores, in the order of the file."""


def read_run(file: Path) -> Iterator[tuple[str, Scored]]:
    """Yields each query of a run with its pages, whose lines must follow each other.

    Raises:
        InvalidInput: The file cannot be read, or a line has another shape.
    """
    seen: set[str] = set()
    rows = (_row(where, line) for where, line in read_lines(file))
    for query, group in groupby(rows, key=lambda row: row[0]):
        if query in seen:
            raise InvalidInput(f"{file}: the lines of query {query!r} do not follow each other: sort the run by query")
        seen.add(query)
        yield query, [(page, score) for _, page, score in group]


def sorted_pages(scored: Iterable[tuple[str, float]]) -> list[str]:
    """Returns pages by falling score, and those with equal scores by falling id, as trec_eval sorts a run.

    trec_eval compares scores in single precision and does not look at the rank column.
    """
    return [page for page, _ in sorted(scored, key=lambda one: (_single(one[1]), one[0]), reverse=True)]


def write_run(file: Path, orders: Mapping[str, Sequence[str]], tag: str) -> None:
    """Writes a run with scores that fall by 1 from rank to rank, so that every tool sorts it as it is ranked.

    Logits of several windows are not comparable, and scores that are too close are equal to trec_eval.

    Args:
        file: Replaced when all of it is written.
        orders: Pages of each query, best first.
        tag: Name of the system, without white space.

    Raises:
        InvalidInput: It cannot be written.
    """
    lines = (
        f"{query} Q0 {page} {rank} {len(pages) - rank + 1} {tag}\n"
        for query, pages in orders.items()
        for rank, page in enumerate(pages, start=1)
    )
    write_whole(file, "".join(lines).encode())


def read_lines(file: Path) -> Iterator[tuple[str, str]]:
    """Yields the lines of a text file that are not empty, each with what an error calls it. Raises InvalidInput."""
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"{file}, line {number}", line.rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read: {error}") from error


def _row(where: str, line: str) -> tuple[str, str, float]:
    parts = line.split()
    try:
        query, _, page, _, score, _ = parts
        value = float(score)
    except ValueError:
        raise InvalidInput(f"{where}: {line!r} is not QUERY Q0 PAGE RANK SCORE TAG") from None
    if math.isnan(value):
        raise InvalidInput(f"{where}: the score of {page} is not a number")
    return query, page, value


def _single(score: float) -> float:
    with np.errstate(over="ignore"):
        return float(np.float32(score))
