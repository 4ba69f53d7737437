"""OCR and BM25: what a user without a GPU would otherwise do (extra ``ocr``)."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ziprerank.bundle import ImageRules
from ziprerank.errors import MissingDependency, PageError
from ziprerank.evaluation.data import Data
from ziprerank.evaluation.lines import Lines, read_lines
from ziprerank.evaluation.systems import Ranked, by_words
from ziprerank.inputs.pages import open_pages


class OcrBm25:
    """BM25 on what RapidOCR reads of the page pictures, each of which is read once in a run.

    RapidOCR's own defaults decide: its models, its page size (at most 2,000 px), its threads. Pages are not turned.
    """

    names = ("bm25-ocr",)

    def __init__(self, cache: Path, rules: ImageRules, longest_side: int = 2000) -> None:
        """Loads the models.

        Args:
            cache: A file to keep the read texts in, one JSON object a line; a run that goes on finds them there.
            rules: How pages are opened.
            longest_side: Size of PDF pages in px; pictures are read as they are.

        Raises:
            MissingDependency: rapidocr is not installed.
        """
        try:
            from rapidocr import RapidOCR  # type: ignore[import-not-found]
        except ImportError as error:
            raise MissingDependency(f'{error}: pip install "ziprerank[ocr]"') from error
        self._engine = RapidOCR(params={"Global.log_level": "error", "Global.use_cls": False})
        logging.getLogger("RapidOCR").setLevel(logging.ERROR)
        self._rules = rules
        self._side = longest_side
        self._cache = cache
        self._texts: dict[str, tuple[str, float]] = {row["page"]: (row["text"], row["ms"]) for row in read_lines(cache)}
        self._counted: set[str] = set()

    def settings(self) -> dict[str, Any]:
        return {"ocr": f"rapidocr {metadata.version('rapidocr')}", "longest_side": self._side}

    def rank(self, query: str, pages: Sequence[str], data: Data) -> list[Ranked]:
        if any(page not in self._texts for page in pages):
            # all of them are opened, so that an error has the candidate's index
            with open_pages(data.inputs(pages), self._rules) as sources, Lines(self._cache) as cache:
                for index, (page, source) in enumerate(zip(pages, sources, strict=True)):
                    if page in self._texts:
                        continue
                    begun = time.perf_counter()
                    try:
                        text = self._read(np.asarray(source.picture(self._side).convert("RGB")))
                    except PageError as error:
                        raise error.at(index) from error
                    ms = (time.perf_counter() - begun) * 1e3
                    cache.add({"page": page, "text": text, "ms": ms})
                    self._texts[page] = (text, ms)
        fresh = [page for page in pages if page not in self._counted]
        self._counted.update(fresh)
        text_ms = sum(self._texts[page][1] for page in fresh)
        return [by_words(query, [self._texts[page][0] for page in pages], text_ms, len(fresh))]

    def _read(self, pixels: NDArray[np.uint8]) -> str:
        result = self._engine(pixels[:, :, ::-1].copy(), use_cls=False)  # BGR, as OpenCV has it
        return "\n".join(result.txts or ())
