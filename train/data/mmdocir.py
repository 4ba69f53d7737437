"""MMDocIR's training pages and ZipRerank's distilled rankings of them: unpack the pictures once, then stream examples.

Pages, ``MMDocIR_Train_Dataset/parquet/*_filter.parquet`` (as its train_dataset.py reads them): columns ``file_name``,
``page`` (int) and ``image``; or ``images.parquet`` with ``doc_name``, ``page_id`` and ``image``, which ZipRerank's
training code reads too. ``image`` is the file's bytes, a struct of ``bytes`` and ``path``, or a path beside the file.

Rankings, ``ZipRerank_GPT-5-mini_MMDocIR_Train`` or what ZipRerank's generate_training_data.py writes; JSON lines, a
JSON array or Parquet:

    {"query_id": ..., "query": "...", "doc_name": "...", "domain": "...",
     "candidate_page_ids": [4, 7, 0],     pages, in the first stage's order
     "gt_page_ids": [7],                  pages that answer the query
     "openai_ranking": [1, 0, 2],         the teacher's order: indices into candidate_page_ids, best first
     "ranked_page_ids": [7, 4, 0]}        the same as pages; may be absent, must agree

Query ids repeat between domains, so an example's id is ``domain/query_id``.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from ziprerank.train.errors import TrainError

from .examples import PageExample, PageRef, integers, string
from .parquet import data_rows, parquet_columns, parquet_rows
from .rows import Faults, skipping

CANDIDATES = 10
"""Most candidates of an example in ZipRerank's second stage."""

PageKey = tuple[str, int]
"""Document name and page id."""


def page_path(folder: Path, key: PageKey) -> Path:
    """Where `unpack_pages` puts a page: a readable name, and a digest, because names hold anything at any length."""
    document, page = key
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", document)[:80]
    digest = hashlib.sha256(document.encode()).hexdigest()[:12]
    return folder / f"{readable}-{digest}" / f"{page}.image"


def unpack_pages(
    parquets: Iterable[Path], folder: Path, wanted: Collection[PageKey] | None = None, faults: Faults | None = None
) -> int:
    """Write each page's picture, as it is in the Parquet files, to its own file under ``folder``.

    Training draws pages at random, and a Parquet file gives a single row only by reading the thousands around it. A
    page that is there is not written again, so an interrupted run goes on; files appear whole (temporary file, rename).

    Args:
        wanted: the pages to unpack, see `wanted_pages`; None takes all.
        faults: called with the error of each faulty row, which is then skipped; without it the error is raised.

    Returns:
        How many pages were written.

    Raises:
        TrainError: a file is no Parquet file or lacks columns, a row is faulty (named), or the disk is full.
    """
    written = 0
    for path in parquets:
        columns = _page_columns(path)
        for name, row in parquet_rows(path, columns):
            for target, data in skipping(partial(_page, row, columns, path.parent, folder, wanted), name, faults):
                if data is not None:
                    _write(target, data)
                    written += 1
    return written


def wanted_pages(rankings: Path, most: int = CANDIDATES, faults: Faults | None = None) -> set[PageKey]:
    """The pages that `read_mmdocir` will ask for."""
    pages: set[PageKey] = set()
    for name, row in data_rows(rankings, faults):
        for keys in skipping(partial(_candidates, row, most), name, faults):
            pages.update(keys)
    return pages


def read_mmdocir(
    rankings: Path, folder: Path, most: int = CANDIDATES, faults: Faults | None = None
) -> Iterator[PageExample]:
    """Stream the examples of a rankings file, their pages where `unpack_pages` put them.

    Of more than ``most`` candidates the first are kept, which are the first stage's best, in the teacher's order among
    themselves; ground truths that are not among them are none of the example's ``truths``, which may thus be empty.

    Args:
        faults: called with the error of each faulty row, which is then skipped; without it the error is raised.

    Raises:
        TrainError: names the file and row at fault: a field is missing or of the wrong type, an order is no order of
            the candidates, fewer than 2 candidates, or a page that has not been unpacked.
    """
    for name, row in data_rows(rankings, faults):
        yield from skipping(partial(_example, row, name, folder, most), name, faults)


def _candidates(row: Mapping[str, Any], most: int) -> list[PageKey]:
    document = string(row, "doc_name")
    pages = integers(row, "candidate_page_ids")
    if len(set(pages)) != len(pages):
        raise TrainError(f"'candidate_page_ids' is {pages}: name each page once")
    if len(pages) < 2:
        raise TrainError(f"{len(pages)} candidates: a ranking needs at least 2")
    return [(document, page) for page in pages[:most]]


def _example(row: Mapping[str, Any], name: str, folder: Path, most: int) -> PageExample:
    keys = _candidates(row, most)
    candidates = integers(row, "candidate_page_ids")
    ranking = integers(row, "openai_ranking")
    if len(set(ranking)) != len(ranking) or not all(0 <= index < len(candidates) for index in ranking):
        raise TrainError(f"'openai_ranking' is {ranking}: name each of 0..{len(candidates) - 1} at most once")
    if row.get("ranked_page_ids") is not None:
        ranked, named = integers(row, "ranked_page_ids"), [candidates[index] for index in ranking]
        if ranked != named:
            raise TrainError(f"'ranked_page_ids' is {ranked}, but 'openai_ranking' names pages {named}")
    truths = set(integers(row, "gt_page_ids"))
    refs = []
    for key in keys:
        path = page_path(folder, key)
        if not path.is_file():
            raise TrainError(f"page {key[1]} of {key[0]!r} is not in {folder}: unpack the Parquet file that holds it")
        refs.append(PageRef(path))
    query_id = row.get("query_id")
    domain = row.get("domain") or ""
    return PageExample(
        query=string(row, "query"),
        document=keys[0][0],
        pages=tuple(refs),
        truths=tuple(index for index, (_, page) in enumerate(keys) if page in truths),
        order=tuple(index for index in ranking if index < len(keys)),
        id=name if query_id is None else f"{domain}/{query_id}",
    )


def _page_columns(path: Path) -> list[str]:
    names = parquet_columns(path)
    for columns in (["file_name", "page", "image"], ["doc_name", "page_id", "image"]):
        if set(columns) <= set(names):
            return columns
    raise TrainError(f"{path} has columns {', '.join(names)}: pages need file_name, page and image")


def _page(
    row: Mapping[str, Any], columns: list[str], beside: Path, folder: Path, wanted: Collection[PageKey] | None
) -> tuple[Path, bytes | None]:
    """Where the row's page goes, and its picture, or None if it is not wanted or there already."""
    page = row[columns[1]]
    if type(page) is not int or page < 0:
        raise TrainError(f"{columns[1]!r} is {page!r:.80}: give an integer from 0")
    key = (string(row, columns[0]), page)
    target = page_path(folder, key)
    if target.exists() or (wanted is not None and key not in wanted):
        return target, None
    return target, _picture(row["image"], beside)


def _write(target: Path, data: bytes) -> None:
    """Outside of what ``faults`` may skip: a full disk must end the run."""
    temporary = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise TrainError(f"{target} cannot be written: {error.strerror}") from error


def _picture(value: object, beside: Path) -> bytes:
    """The bytes of an image file, of which the header has been checked."""
    if isinstance(value, dict):
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    if isinstance(value, str):
        path = beside / value
        try:
            value = path.read_bytes()
        except OSError as error:
            raise TrainError(f"the image {path} cannot be read: {error.strerror}") from error
    if not isinstance(value, bytes):
        raise TrainError(f"'image' is a {type(value).__name__}: give an image file's bytes, or a path")
    try:
        with Image.open(io.BytesIO(value)) as image:
            image.verify()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:  # what Pillow raises on broken files
        raise TrainError(f"'image' holds {len(value)} bytes that are no image: {error}") from error
    return value
