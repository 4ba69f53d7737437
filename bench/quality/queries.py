"""The query set: each row holds a query, its right page, and the pages that are ranked."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

QUERIES = Path(__file__).with_name("queries.jsonl")
DEVELOPMENT = Path(__file__).with_name("development.jsonl")
"""196 queries on the four manuals of `bench.quality.documents.DEVELOPMENT`, to choose models on.

They were made as the committed set is, with 11 queries of each kind and 16 paraphrases a manual. The candidates of a
manual come from at most 110 of its pages, so that a tower has few pages to read.
"""
KINDS = ("title", "phrase", "keywords", "paraphrase")
CANDIDATES = 20
WORDS = range(2, 9)  # of a query


@dataclass(frozen=True, slots=True)
class Query:
    """One query.

    Attributes:
        document: file name of the PDF.
        query: the text.
        kind: one of `KINDS`.
        page: the right page, 0-based; one of ``candidates``.
        candidates: the ranked pages, 0-based and distinct.
    """

    document: str
    query: str
    kind: str
    page: int
    candidates: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.page not in self.candidates or len(set(self.candidates)) != len(self.candidates):
            raise ValueError(f"{self}: candidates must be distinct pages, and page {self.page} one of them")


def read_queries(file: Path = QUERIES) -> list[Query]:
    """Reads a query set. Raises ValueError for a row whose candidates are not distinct or lack the right page."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [Query(**{**row, "candidates": tuple(row["candidates"])}) for row in rows]


def drawn(queries: Sequence[Query], count: int, seed: int | str) -> list[Query]:
    """Returns ``count`` queries, in their order."""
    return [queries[place] for place in sorted(random.Random(seed).sample(range(len(queries)), count))]


def write_queries(file: Path, queries: Iterable[Query]) -> None:
    """Writes a query set, one JSON object a line."""
    lines = [json.dumps(asdict(query), ensure_ascii=False) + "\n" for query in queries]
    file.write_text("".join(lines), encoding="utf-8")
