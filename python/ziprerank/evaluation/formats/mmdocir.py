"""MMDocIR's evaluation set: ``MMDocIR_annotations.jsonl`` and ``MMDocIR_pages.parquet``, as its authors publish them.

A line of the annotations is a document: ``doc_name``, ``domain``, ``page_indices`` (the first and the last of its rows
in the Parquet file, both inclusive) and ``questions``, each with ``Q`` and ``page_id``, its relevant pages counted from
0 within the document. Candidates are the pages of the question's document.

Query ids are ``DOC_NAME_N`` with the question's number from 0, page ids are ``DOC_NAME:P`` with the page's.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ziprerank.errors import InvalidInput
from ziprerank.evaluation.data import Data, Query, checked_id, unique
from ziprerank.evaluation.formats.tables import Pictures, column, records, stamp
from ziprerank.evaluation.runs import read_lines
from ziprerank.inputs.pages import PageInput

ANNOTATIONS, PAGES = "MMDocIR_annotations.jsonl", "MMDocIR_pages.parquet"
FILES = f"{ANNOTATIONS} and {PAGES}"
# of MMDocIR's metric_eval.py: the macro average goes over all ten, and one without a question counts 0
DOMAINS = (
    "Research report / Introduction",
    "Administration/Industry file",
    "Tutorial/Workshop",
    "Academic paper",
    "Brochure",
    "Financial report",
    "Guidebook",
    "Government",
    "Laws",
    "News",
)


def is_here(path: Path) -> bool:
    """Whether a folder has this form."""
    return (path / ANNOTATIONS).is_file()


def read(path: Path) -> MMDocIR:
    """Reads the annotations.

    Raises:
        InvalidInput: A file is missing or damaged.
    """
    file = path / ANNOTATIONS
    if not (path / PAGES).is_file():
        raise InvalidInput(f"{path} has no {PAGES}: download it beside {ANNOTATIONS}")
    data = MMDocIR(path, domains=DOMAINS, given_name="page order")
    queries: list[Query] = []
    for where, line in read_lines(file):
        queries += _document(data, line, where)
    data.queries = unique(queries, file)
    return data


@dataclass(slots=True)
class MMDocIR(Data):
    """Attributes: ``rows`` holds the first and the last row of each document in the Parquet file, both inclusive."""

    rows: dict[str, tuple[int, int]] = field(default_factory=dict)
    _pictures: Pictures | None = None

    @property
    def format(self) -> str:
        return "mmdocir"

    def pool(self, document: str | None) -> Sequence[str]:
        if document is None:
            return [page for name in self.rows for page in self.pool(name)]
        first, last = self.rows[document]
        return [f"{document}:{page}" for page in range(last - first + 1)]

    def inputs(self, pages: Sequence[str]) -> list[PageInput]:
        if self._pictures is None:
            raise InvalidInput("the pages are not open: rank them inside of Data.opened")
        return [self._pictures.read(page) for page in pages]

    def texts(self, pages: Collection[str]) -> Mapping[str, str]:
        held = column([self.path / PAGES], ["ocr_text"])
        return {page: str(value or "") for page, value in self._rows(pages, str(held))}

    @contextmanager
    def opened(self, pages: Collection[str], scratch: Path) -> Iterator[None]:
        file = self.path / PAGES
        self._pictures = Pictures(scratch, [stamp([file]), sorted(pages)])
        self._pictures.fill(lambda: self._rows(pages, "image_binary"), self.path)
        try:
            yield
        finally:
            self._pictures = None

    def _rows(self, pages: Collection[str], name: str) -> Iterator[tuple[str, Any]]:
        """Yields these pages with one of their columns. Raises InvalidInput where the two files disagree."""
        file = self.path / PAGES
        wanted = set(pages)
        documents = iter(sorted((first, last, document) for document, (first, last) in self.rows.items()))
        first, last, document = next(documents)
        row = -1
        for row, (where, record) in enumerate(records([file], ["doc_name", str(column([file], [name]))])):
            while row > last:
                first, last, document = next(documents, (row + 1, row + (1 << 60), ""))
            if row < first:
                continue
            if record["doc_name"] != document:
                raise InvalidInput(
                    f"{where} is a page of {record['doc_name']!r}, and {ANNOTATIONS} says of {document!r}: "
                    "download both files of one version"
                )
            page = f"{document}:{row - first}"
            if page in wanted:
                yield page, record[name]
        if row < max(last for _, last in self.rows.values()):
            raise InvalidInput(f"{file} ends at row {row}, and {ANNOTATIONS} names later ones: download it again")


def _document(data: MMDocIR, line: str, where: str) -> Iterator[Query]:
    try:
        record = json.loads(line)
        name, domain, questions = record["doc_name"], record["domain"], record["questions"]
        first, last = record["page_indices"]
        asked = [(question["Q"], [int(page) for page in question["page_id"]]) for question in questions]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{where} is no document of MMDocIR: {type(error).__name__}: {error}") from error
    if not all(isinstance(text, str) for text in (name, *(text for text, _ in asked))):
        raise InvalidInput(f"{where}: doc_name and every Q must be text")
    if domain not in DOMAINS:
        raise InvalidInput(f"{where}: the domain {domain!r} is none of MMDocIR's ten ({', '.join(DOMAINS)})")
    if name in data.rows or not 0 <= first <= last:
        raise InvalidInput(f"{where}: {name!r} is there twice, or its rows {first} to {last} are no range")
    name = checked_id(name, where)
    data.rows[name] = (first, last)
    for number, (text, pages) in enumerate(asked):
        # the authors' recall of a question without a page is 0, so it is judged, with nothing to find
        relevant = {f"{name}:{page}": 1 for page in pages}
        outside = [page for page in pages if not 0 <= page <= last - first]
        fault = f"its pages {outside} are not in the document, which has {last - first + 1}" if outside else None
        yield Query(f"{name}_{number}", text, relevant, domain, name, None, fault)
