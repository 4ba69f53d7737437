"""The query set as rows: what is asked, which page is right, which pages are ranked."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

QUERIES = Path(__file__).with_name("queries.jsonl")
KINDS = ("title", "phrase", "keywords", "paraphrase")
CANDIDATES = 20
WORDS = range(2, 9)  # of a query


@dataclass(frozen=True, slots=True)
class Query:
    """``page`` and ``candidates`` are 0-based pages of the PDF ``document``; the page is one of the candidates."""

    document: str
    query: str
    kind: str
    page: int
    candidates: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.page not in self.candidates or len(set(self.candidates)) != len(self.candidates):
            raise ValueError(f"{self}: candidates must be distinct pages, and page {self.page} one of them")


def read_queries(file: Path = QUERIES) -> list[Query]:
    """Raises ValueError for a row that is no query."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [Query(**{**row, "candidates": tuple(row["candidates"])}) for row in rows]


def write_queries(file: Path, queries: Iterable[Query]) -> None:
    lines = [json.dumps(asdict(query), ensure_ascii=False) + "\n" for query in queries]
    file.write_text("".join(lines), encoding="utf-8")
