"""OCR and BM25: what a user would run on scans without a model of this kind.

An OCR reads every page that a query ranks, in grey at `DPI`, and BM25 ranks by what it read.
RapidOCR needs the extra ``ocr``, Tesseract its program and English data (``apt-get install tesseract-ocr``).
"""

from __future__ import annotations

import io
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image
from ziprerank.errors import MissingDependency
from ziprerank.evaluation.ocr import rapidocr_reader
from ziprerank.first_stage.bm25 import Index, words_of

from .documents import located
from .queries import Query
from .systems import Locate, Run, by_document

DPI = 200

Reader = Callable[[NDArray[np.uint8]], str]
"""Reads a grey page ``[height, width]`` of `DPI`: its text."""


def ocr_bm25(name: str, reader: Reader, queries: Sequence[Query], folder: Path, locate: Locate = located) -> Run:
    """Ranks by BM25 on what ``reader`` reads, with the word frequencies of the pages that the document's queries rank.

    The run's ``page_ms`` is the mean time that a page takes to read, without its rendering.
    """
    run = Run(f"{name}, BM25")
    spent, read = 0.0, 0
    for file, asked in by_document(queries, folder, locate):
        print(f"{run.system}: {file.name}, {len(asked)} queries", flush=True)
        numbers = sorted({page for query in asked for page in query.candidates})
        words = []
        with pdfium.PdfDocument(file) as document:
            for number in numbers:
                sheet = document[number]
                picture = np.array(sheet.render(scale=DPI / 72, grayscale=True).to_pil().convert("L"))
                sheet.close()
                begun = time.perf_counter()
                words.append(words_of(reader(picture)))
                spent += time.perf_counter() - begun
                read += 1
        index = Index(words)
        for query in asked:
            scores = dict(zip(numbers, index.scores(words_of(query.query)), strict=True))
            run.add(query, [scores[page] for page in query.candidates])
    run.page_ms = 1000 * spent / max(1, read)
    return run


def reader_of(name: str) -> Reader:
    """``rapidocr`` or ``tesseract``, with their default settings. Raises SystemExit for one that is not installed."""
    return {"rapidocr": _rapidocr, "tesseract": _tesseract}[name]()


def _rapidocr() -> Reader:
    try:
        read = rapidocr_reader()
    except MissingDependency as error:
        raise SystemExit(f"--ocr rapidocr: {error}") from None
    return lambda picture: read(np.repeat(picture[:, :, None], 3, axis=2))


def _tesseract() -> Reader:
    program = shutil.which("tesseract")
    if program is None:
        raise SystemExit("--ocr tesseract: no program tesseract; apt-get install tesseract-ocr, or add it to PATH")

    def read(picture: NDArray[np.uint8]) -> str:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG", dpi=(DPI, DPI), compress_level=1)
        command = [program, "stdin", "stdout", "-l", "eng"]
        done = subprocess.run(command, input=file.getvalue(), capture_output=True, check=False)
        if done.returncode:
            raise SystemExit(f"tesseract failed: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode("utf-8")

    return read
