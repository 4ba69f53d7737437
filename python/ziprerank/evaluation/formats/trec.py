"""TREC's files: ``queries.tsv``, ``qrels.txt``, the documents, and a run if there is one.

- ``queries.tsv``: an id, a tab, and the query.
- ``qrels.txt``: query id, an unused column, document id and grade, apart by white space.
- ``documents.tsv``: a document id, a tab, a file seen from the folder, and for a PDF another tab and a page from 1,
  which a TIFF may have too.
- Or a folder ``documents``: an image's id is its name without suffix, and that of a page of a PDF, or of a TIFF of
  several pages, is ``NAME:P`` from 1.
- ``run.trec``: the candidates, as ``runs.read_run`` reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from ziprerank.errors import InvalidInput, PageError
from ziprerank.evaluation.data import Data, Query, checked_id, unique
from ziprerank.evaluation.pdf_text import pdf_texts
from ziprerank.evaluation.runs import read_lines, read_run, sorted_pages
from ziprerank.inputs.formats import SUFFIXES
from ziprerank.inputs.pages import PageInput, Pdf, TiffPages
from ziprerank.inputs.stored_file import StoredFile

FILES = "queries.tsv, qrels.txt, and documents.tsv or a folder documents"
RUN = "run.trec"

Place = tuple[Path, int | None]
"""A file, and the page from 1 of a PDF, or of a TIFF of several pages."""

_TIFF = (".tif", ".tiff")


def is_here(path: Path) -> bool:
    """Whether a folder has this form."""
    return (path / "queries.tsv").is_file() and (path / "qrels.txt").is_file()


def read(path: Path) -> Trec:
    """Reads everything but the pages.

    Raises:
        InvalidInput: A file is missing or damaged.
    """
    data = Trec(path, given_name=RUN)
    table, folder = path / "documents.tsv", path / "documents"
    places = _table(table) if table.is_file() else _folder(folder) if folder.is_dir() else None
    if places is None:
        raise InvalidInput(f"{path} has no documents.tsv and no folder documents: it needs one of them")
    for where, page, place in places:
        if page in data.places:
            raise InvalidInput(f"{where}: the document id {page!r} is there twice: give every page its own")
        data.places[page] = place
    judged = _qrels(path / "qrels.txt")
    run = {name: sorted_pages(scored) for name, scored in read_run(path / RUN)} if (path / RUN).is_file() else None
    queries = []
    for where, line in read_lines(path / "queries.tsv"):
        name, tab, text = line.partition("\t")
        if not tab:
            raise InvalidInput(f"{where} has no tab between the id and the query")
        name = checked_id(name, where)
        queries.append(Query(name, text, judged.get(name), given=None if run is None else run.get(name, [])))
    data.queries = unique(queries, path / "queries.tsv")
    return data


@dataclass(slots=True)
class Trec(Data):
    """Attributes: ``places`` holds where each page is, by its id."""

    places: dict[str, Place] = field(default_factory=dict)

    @property
    def format(self) -> str:
        return "trec"

    def pool(self, document: str | None) -> Sequence[str]:  # noqa: ARG002
        return list(self.places)

    def inputs(self, pages: Sequence[str]) -> list[PageInput]:
        """See ``Data.inputs``; pages of one PDF that follow each other are opened together."""
        for page in pages:
            if page not in self.places:
                raise InvalidInput(f"{page}: the data has no such page")
        found: list[PageInput] = []
        for file, group in groupby((self.places[page] for page in pages), key=lambda place: place[0]):
            numbers = [number for _, number in group]
            if _is_pdf(file):
                found.append(Pdf(file, [number for number in numbers if number is not None]))
            else:
                found += [file if number is None else TiffPages(file, str(number)) for number in numbers]
        return found

    def texts(self, pages: Collection[str]) -> Mapping[str, str]:
        texts: dict[Path, list[str]] = {}
        found = {}
        for page in pages:
            file, number = self.places[page]
            if number is None or not _is_pdf(file):
                raise InvalidInput(f"{file} is a picture, which has no text for BM25: give a run")
            if file not in texts:
                texts = {file: pdf_texts(file)}
            found[page] = texts[file][number - 1]
        return found


def _table(file: Path) -> Iterator[tuple[str, str, Place]]:
    for where, line in read_lines(file):
        parts = line.split("\t")
        if len(parts) not in (2, 3):
            raise InvalidInput(
                f"{where} has {len(parts)} columns, needed are an id, a file, and for a PDF or a TIFF a page"
            )
        path = file.parent / parts[1]
        if not path.is_file():
            raise InvalidInput(f"{where}: there is no file {path}")
        page = parts[2] if len(parts) == 3 else None
        right = page is not None and page.isdecimal() and int(page) >= 1
        if _is_pdf(path) and not right:
            raise InvalidInput(f"{where}: {path.name} is a PDF, so a third column must give a page from 1")
        if page is not None and not _is_pdf(path):
            if path.suffix.lower() not in _TIFF:
                raise InvalidInput(f"{where}: {path.name} is a picture, which has no page {page!r}")
            if not right:
                raise InvalidInput(f"{where}: the third column of a TIFF must be a page from 1, not {page!r}")
        yield where, checked_id(parts[0], where), (path, None if page is None else int(page))


def _folder(folder: Path) -> Iterator[tuple[str, str, Place]]:
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES:
            continue
        count = _pages(path)
        if count is None:
            yield str(path), checked_id(path.stem, str(path)), (path, None)
            continue
        for number in range(1, count + 1):
            yield str(path), checked_id(f"{path.stem}:{number}", str(path)), (path, number)


def _pages(path: Path) -> int | None:
    """Returns how many pages of a file have an id each; None if it is one picture. Raises InvalidInput."""
    is_pdf = _is_pdf(path)
    if not is_pdf and path.suffix.lower() not in _TIFF:
        return None
    file = StoredFile(path, path.name)
    try:
        count = file.pages() if is_pdf else len(file.image_pages("TIFF"))
    except PageError as error:
        if is_pdf:
            raise InvalidInput(str(error)) from error
        return None  # the queries that have it among their candidates say so
    finally:
        file.close()
    return count if is_pdf or count > 1 else None


def _is_pdf(path: Path) -> bool:
    return path.suffix.lower() == ".pdf"


def _qrels(file: Path) -> dict[str, dict[str, int]]:
    judged: dict[str, dict[str, int]] = {}
    for where, line in read_lines(file):
        parts = line.split()
        try:
            query, _, page, grade = parts
            judged.setdefault(query, {})[page] = int(grade)
        except ValueError:
            raise InvalidInput(f"{where}: {line!r} is not a query id, 0, a document id and a whole grade") from None
    return judged
