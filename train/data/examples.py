"""What the two stages train on: a query, its candidates and a teacher's order, checked when made; as JSON lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ziprerank.train.errors import TrainError

from .rows import Faults, json_rows, skipping

T = TypeVar("T")

MOST_CANDIDATES = 20
"""Letters A..T: the most candidates that one example can have."""


@dataclass(frozen=True, slots=True)
class PageRef:
    """Where a page's picture comes from: an image file, or a page of a PDF."""

    path: Path
    page: int | None = None
    """0-based page of the PDF at ``path``; None if ``path`` is an image"""


@dataclass(frozen=True, slots=True)
class ListwiseExample:
    """Stage 1: text passages to be rendered, and a teacher's order of them."""

    query: str
    passages: tuple[str, ...]
    order: tuple[int, ...]
    """indices into ``passages``, best first; may be partial"""
    id: str = ""
    """named in errors"""

    def __post_init__(self) -> None:
        _check(self.query, len(self.passages), {"order": self.order})
        for number, passage in enumerate(self.passages):
            if not passage.strip():
                raise TrainError(f"passage {number} is empty: drop it or the example")


@dataclass(frozen=True, slots=True)
class PageExample:
    """Stage 2: pages of one document, the ones that answer the query, and a teacher's order."""

    query: str
    document: str
    pages: tuple[PageRef, ...]
    truths: tuple[int, ...]
    """indices into ``pages``; empty if no candidate answers the query"""
    order: tuple[int, ...]
    """indices into ``pages``, best first; may be partial, or empty before a teacher saw the example"""
    id: str = ""
    """named in errors"""

    def __post_init__(self) -> None:
        _check(self.query, len(self.pages), {"truths": self.truths, "order": self.order})
        for number, page in enumerate(self.pages):
            if page.page is not None and page.page < 0:
                raise TrainError(f"page {number} is page {page.page} of {page.path}: pages are numbered from 0")


def listwise_row(example: ListwiseExample) -> dict[str, Any]:
    """The JSON object that `read_listwise` reads back as ``example``."""
    return {
        "id": example.id,
        "query": example.query,
        "passages": list(example.passages),
        "order": list(example.order),
    }


def page_row(example: PageExample) -> dict[str, Any]:
    """The JSON object that `read_pages` reads back as ``example``; a page is a path, or ``[path, page]`` of a PDF.

    Paths are made absolute, because those in a file are relative to its folder and those in memory to the current one.
    """
    paths = [str(ref.path.absolute()) for ref in example.pages]
    return {
        "id": example.id,
        "query": example.query,
        "document": example.document,
        "pages": [
            path if ref.page is None else [path, ref.page] for path, ref in zip(paths, example.pages, strict=True)
        ],
        "truths": list(example.truths),
        "order": list(example.order),
    }


def read_listwise(path: Path, faults: Faults | None = None) -> Iterator[ListwiseExample]:
    """Stream the examples of a file of `listwise_row` objects, JSON lines or a JSON array.

    Args:
        faults: called with the error of each faulty row, which is then skipped; without it the error is raised.

    Raises:
        TrainError: names the file and row at fault.
    """

    def example(row: Mapping[str, Any], name: str) -> ListwiseExample:
        passages = strings(row, "passages")
        return ListwiseExample(
            string(row, "query"), tuple(passages), tuple(integers(row, "order")), str(row.get("id", name))
        )

    return _read(path, example, faults)


def read_pages(path: Path, faults: Faults | None = None) -> Iterator[PageExample]:
    """Stream the examples of a file of `page_row` objects; relative paths in it are relative to the file's folder.

    Args:
        faults: called with the error of each faulty row, which is then skipped; without it the error is raised.

    Raises:
        TrainError: names the file and row at fault.
    """

    def example(row: Mapping[str, Any], name: str) -> PageExample:
        entries = row.get("pages")
        if not isinstance(entries, list):
            raise TrainError(f"'pages' is {entries!r:.80}: give a list of paths or [path, page] pairs")
        return PageExample(
            string(row, "query"),
            string(row, "document"),
            tuple(_page(entry, path.parent) for entry in entries),
            tuple(integers(row, "truths")),
            tuple(integers(row, "order")),
            str(row.get("id", name)),
        )

    return _read(path, example, faults)


def string(row: Mapping[str, Any], key: str) -> str:
    """``row[key]``, or a TrainError that it is not a string."""
    value = row.get(key)
    if not isinstance(value, str):
        raise TrainError(f"{key!r} is {value!r:.80}: give a string")
    return value


def strings(row: Mapping[str, Any], key: str) -> list[str]:
    """``row[key]``, or a TrainError that it is not a list of strings."""
    value = row.get(key)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TrainError(f"{key!r} is {value!r:.80}: give a list of strings")
    return value


def integers(row: Mapping[str, Any], key: str) -> list[int]:
    """``row[key]``, or a TrainError that it is not a list of integers."""
    value = row.get(key)
    if not isinstance(value, list) or not all(type(item) is int for item in value):  # True is an int too
        raise TrainError(f"{key!r} is {value!r:.80}: give a list of integers")
    return value


def _read(path: Path, example: Callable[[Mapping[str, Any], str], T], faults: Faults | None) -> Iterator[T]:
    for name, row in json_rows(path, faults):
        yield from skipping(partial(example, row, name), name, faults)


def _page(entry: object, folder: Path) -> PageRef:
    if isinstance(entry, str):
        return PageRef(folder / entry)
    if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str) and type(entry[1]) is int:
        return PageRef(folder / entry[0], entry[1])
    raise TrainError(f"a page is {entry!r:.80}: give an image's path, or [PDF's path, page from 0]")


def _check(query: str, count: int, lists: Mapping[str, tuple[int, ...]]) -> None:
    if not query.strip():
        raise TrainError("the query is empty: drop the example")
    if not 1 <= count <= MOST_CANDIDATES:
        raise TrainError(f"{count} candidates: an example has 1..{MOST_CANDIDATES}")
    for name, numbers in lists.items():
        if len(set(numbers)) != len(numbers) or not all(0 <= number < count for number in numbers):
            raise TrainError(f"{name!r} is {list(numbers)}: name each of the candidates 0..{count - 1} at most once")
