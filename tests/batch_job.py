"""A batch of 40 small documents and 5 queries, two of the documents broken; used by tests and ``bench/batch.py``."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from reportlab.pdfgen.canvas import Canvas
from ziprerank.batch.parts import read_part
from ziprerank.batch.ranking import Done, Ranker, error_rows
from ziprerank.batch.rows import Group
from ziprerank.reranker import Reranker

QUERIES = ("board of directors", "dividend per share", "annual meeting", "page two", "what is the total revenue")
BROKEN = (3, 17)  # documents that no reader opens


@dataclass(frozen=True)
class Job:
    """``table`` has the rows; ``documents`` the files of each of its 40 documents, as ``Reranker.rank`` takes them."""

    table: Path
    documents: list[list[Path | bytes]]

    @property
    def ids(self) -> list[str]:
        return [f"{document}/{query}" for document in range(len(self.documents)) for query in range(len(QUERIES))]


def make_job(folder: Path) -> Job:
    """Of every four documents: a PDF by its path, one by its bytes, two images by their paths, one by its bytes."""
    documents: list[list[Path | bytes]] = []
    for number in range(40):
        kind = number % 4
        files = [_image(number), _image(number + 100)] if kind in (2, 3) else [_pdf(number)]
        if number in BROKEN:
            files = [files[0][:40]]
        if kind in (1, 3):
            documents.append([files[0]])
            continue
        paths = [folder / f"{number}-{at}{'.pdf' if kind == 0 else '.png'}" for at in range(len(files))]
        for path, data in zip(paths, files, strict=True):
            path.write_bytes(data)
        documents.append(list(paths))
    rows = [
        {"id": f"{number}/{at}", "query": query, "documents": [_cell(file) for file in files]}
        for at, query in enumerate(QUERIES)  # the queries of a document do not stand together
        for number, files in enumerate(documents)
    ]
    cell = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("id", pa.string()), ("query", pa.string()), ("documents", pa.list_(cell))])
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "rows.parquet")
    return Job(folder / "rows.parquet", documents)


def rows_of(out: Path) -> list[dict[str, Any]]:
    """Every row of every part, sorted by id."""
    rows = [row for part in sorted(out.glob("part-*")) for row in read_part(part)]
    return sorted(rows, key=lambda row: str(row["id"]))


def _cell(file: Path | bytes) -> dict[str, object]:
    return {"bytes": file, "path": None} if isinstance(file, bytes) else {"bytes": None, "path": file.name}


def _pdf(number: int) -> bytes:
    stream = io.BytesIO()
    canvas = Canvas(stream, pagesize=(200, 260), invariant=1)
    for page in range(1 + number % 3):
        canvas.drawString(20, 130, f"document {number}, page {page}: revenue {number * 17}")
        canvas.showPage()
    canvas.save()
    return stream.getvalue()


def _image(seed: int) -> bytes:
    cells = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(cells).resize((96, 128), Image.Resampling.BILINEAR).save(stream, "PNG")
    return stream.getvalue()


class StuckRanker(Ranker):
    """Has no engine; a row with the query ``"stuck"`` never ends, and one with ``"die"`` ends the process."""

    def load(self) -> Reranker:
        return None  # type: ignore[return-value]

    def rank(self, reranker: Reranker, group: Group, alive: Callable[[], None] | None = None) -> Iterator[Done]:  # noqa: ARG002
        for row in group.rows:
            if row.query == "die":
                os._exit(3)
            while row.query == "stuck":
                time.sleep(1)
            yield Done(error_rows([row], "not ranked"))
