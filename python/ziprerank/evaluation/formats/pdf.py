"""Questions about pages of PDFs: ``queries.jsonl`` beside the files that it names.

A line is a question: ``query``, ``document`` (the path of a PDF, seen from the folder), ``page`` (the relevant page
counted from 0, or a list of them), and if wanted ``id`` (else its number from 1) and ``candidates`` (the pages to rank,
counted from 0; else all of the document). Macro averages go over the documents.

Page ids are ``DOCUMENT:P`` with the page counted from 0; white space in a name becomes ``%20``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from urllib.parse import quote, unquote

from ziprerank.errors import InvalidInput, PageError, quoted
from ziprerank.evaluation.data import Data, Query, checked_id, unique
from ziprerank.evaluation.pdf_text import pdf_texts
from ziprerank.evaluation.runs import read_lines
from ziprerank.inputs.pages import PageInput, Pdf
from ziprerank.inputs.stored_file import StoredFile

QUERIES = "queries.jsonl"
FILES = f"{QUERIES} and the PDFs that it names"


def is_here(path: Path) -> bool:
    """Whether a folder has this form."""
    return (path / QUERIES).is_file()


def read(path: Path) -> PdfData:
    """Reads the questions, and the number of pages of each PDF.

    Raises:
        InvalidInput: A line is no question, or a PDF is missing or damaged.
    """
    file = path / QUERIES
    if not file.is_file():
        raise InvalidInput(f"{path} has no {QUERIES}")
    return read_queries(file, path)


def read_queries(file: Path, folder: Path) -> PdfData:
    """Reads the questions of a file about the PDFs of a folder. Raises as ``read``."""
    data = PdfData(folder, given_name="given order")
    queries = [_query(data, line, number, where) for number, (where, line) in enumerate(read_lines(file), start=1)]
    places = {name: place for place, name in enumerate(data.pages)}  # the order in which they are first asked about
    data.queries = unique(sorted(queries, key=lambda query: places[str(query.document)]), file)
    return data


@dataclass(slots=True)
class PdfData(Data):
    """Attributes: ``pages`` holds the number of pages of each document, by its name."""

    pages: dict[str, int] = field(default_factory=dict)

    @property
    def format(self) -> str:
        return "pdf"

    def pool(self, document: str | None) -> Sequence[str]:
        names = self.pages if document is None else [document]
        return [page_id(name, page) for name in names for page in range(self.pages[name])]

    def inputs(self, pages: Sequence[str]) -> list[PageInput]:
        """See ``Data.inputs``; pages of one file that follow each other are opened together."""
        return [
            Pdf(self.path / name, [page + 1 for _, page in group])
            for name, group in groupby(map(self._place, pages), key=lambda place: place[0])
        ]

    def texts(self, pages: Collection[str]) -> Mapping[str, str]:
        return {
            page_id(name, page): text
            for name in dict.fromkeys(self._place(page)[0] for page in pages)
            for page, text in enumerate(pdf_texts(self.path / name))
        }

    def _place(self, page: str) -> tuple[str, int]:
        name, _, number = page.rpartition(":")
        name = unquote(name)
        if name not in self.pages or not 0 <= int(number) < self.pages[name]:
            raise InvalidInput(f"{page}: the data has no such page")
        return name, int(number)


def page_id(document: str, page: int) -> str:
    """Returns the id of a page, counted from 0."""
    return re.sub(r"[\s%]", lambda found: quote(found[0], safe=""), document) + f":{page}"


def _query(data: PdfData, line: str, number: int, where: str) -> Query:
    try:
        row = json.loads(line)
        name, text, page = row["document"], row["query"], row["page"]
        right = [int(one) for one in (page if isinstance(page, list) else [page])]
        given = row.get("candidates")
        given = None if given is None else [int(one) for one in given]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{where} is no question about a PDF: {type(error).__name__}: {error}") from error
    if not isinstance(name, str) or not isinstance(text, str):
        raise InvalidInput(f"{where}: document and query must be text, they are {quoted(name)} and {quoted(text)}")
    if name not in data.pages:
        data.pages[name] = _count(data.path, name, where)
    outside = [one for one in [*right, *(given or ())] if not 0 <= one < data.pages[name]]
    if outside:
        raise InvalidInput(f"{where}: {name} has {data.pages[name]} pages, counted from 0, and no page {outside[0]}")
    return Query(
        id=checked_id(row.get("id", number), where),
        text=text,
        relevant={page_id(name, one): 1 for one in right},
        group=name,
        document=name,
        given=None if given is None else [page_id(name, one) for one in given],
    )


def _count(folder: Path, name: str, where: str) -> int:
    if not (folder / name).is_file():
        raise InvalidInput(f"{where}: {folder} holds no {name}")
    file = StoredFile(folder / name, name)
    try:
        return file.pages()
    except PageError as error:
        raise InvalidInput(f"{where}: {error}") from error
    finally:
        file.close()
