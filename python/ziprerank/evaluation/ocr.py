"""OCR and BM25: what a user without a GPU would otherwise do (extra ``ocr``)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ziprerank.bundle import ImageRules
from ziprerank.errors import MissingDependency, PageError
from ziprerank.evaluation.data import Data
from ziprerank.evaluation.lines import Lines, read_lines
from ziprerank.evaluation.systems import Ranked, by_words, candidates
from ziprerank.inputs.bad_pages import OnBadPage, none_left
from ziprerank.inputs.pages import open_pages
from ziprerank.inputs.workers.limits import PageLimits

SIDE = 1000
"""Longest side in px at which PDF pages are read.

Of 8 pages of ``bench/quality``, drawn at random, RapidOCR 3.10 found 99.65 % of the words of the text layer at 1,000 px
in 8.5 s of processor time a page, 99.67 % at 2,000 px in 13.1 s, and 99.2 % at 800 px in 8.5 s.
"""

Reader = Callable[[NDArray[np.uint8]], str]
"""Reads the text of an RGB page ``[height, width, 3]``."""


class OcrBm25:
    """BM25 on what RapidOCR reads of the page pictures, each of which is read once in a run.

    RapidOCR's own defaults decide: its models and its threads. Pages are not turned.
    """

    names = ("bm25-ocr",)

    def __init__(
        self,
        cache: Path,
        rules: ImageRules,
        longest_side: int = SIDE,
        *,
        limits: PageLimits | None = None,
        on_bad_page: OnBadPage = "raise",
    ) -> None:
        """Loads the models.

        Args:
            cache: A file to keep the read texts in, one JSON object a line; a run that goes on finds them there.
            rules: How pages are opened.
            longest_side: Size of PDF pages in px; pictures are read as they are.
            limits: Where files are read, and what one page may cost; None is the defaults.
            on_bad_page: As for ``Reranker.rank``; a skipped page is not in the order.

        Raises:
            MissingDependency: rapidocr is not installed.
        """
        self._reader = rapidocr_reader()
        self._rules = rules
        self._side = longest_side
        self._limits = limits
        self._on_bad_page: OnBadPage = on_bad_page
        self._bad: dict[str, PageError] = {}
        self._cache = cache
        self._read = {row.pop("page"): _Read(**row) for row in read_lines(cache)}
        self._counted: set[str] = set()

    def settings(self) -> dict[str, Any]:
        return {"ocr": f"rapidocr {metadata.version('rapidocr')}", "longest_side": self._side}

    def rank(self, query: str, pages: Sequence[str], data: Data) -> list[Ranked]:
        if any(page not in self._read and page not in self._bad for page in pages):
            self._read_pages(pages, data)
        bad = {page: self._bad[page] for page in pages if page in self._bad}
        if bad and self._on_bad_page == "raise":
            page, error = next(iter(bad.items()))
            raise error.at(pages.index(page))
        if len(bad) == len(pages):
            raise none_left(error.at(at) for at, error in enumerate(bad.values()))
        good = [at for at, page in enumerate(pages) if page not in bad]
        read = [self._read[pages[at]] for at in good]
        fresh = [self._read[pages[at]] for at in good if pages[at] not in self._counted]
        self._counted.update(pages)
        ranked = by_words(query, [one.text for one in read], sum(one.ms for one in fresh), len(fresh))
        return [
            replace(
                ranked,
                order=[good[at] for at in ranked.order],
                skipped={page: error.reason for page, error in bad.items()},
                read_cpu_ms=sum(one.cpu_ms for one in fresh),
            )
        ]

    def _read_pages(self, pages: Sequence[str], data: Data) -> None:
        """Reads those that were not read before, up to the first bad one if that ends the ranking."""
        given = candidates(data, pages, self._rules, self._on_bad_page, self._limits)
        with (
            open_pages(given, self._rules, self._on_bad_page, limits=self._limits) as sources,
            Lines(self._cache) as cache,
        ):
            for page, source in zip(pages, sources, strict=True):
                if page in self._read or page in self._bad:
                    continue
                try:
                    pixels = np.asarray(source.picture(self._side).convert("RGB"))
                except PageError as error:
                    self._bad[page] = error
                    if self._on_bad_page == "raise":
                        return
                    continue
                begun, worked = time.perf_counter(), time.process_time()
                text = self._reader(pixels)
                ms, cpu_ms = (time.perf_counter() - begun) * 1e3, (time.process_time() - worked) * 1e3
                self._read[page] = _Read(text, ms, cpu_ms)
                cache.add({"page": page, **asdict(self._read[page])})


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read of a page, and the milliseconds that it took: of the clock, and of all processors."""

    text: str
    ms: float
    cpu_ms: float


def rapidocr_reader() -> Reader:
    """Loads RapidOCR's models. Raises MissingDependency if it is not installed."""
    try:
        from rapidocr import RapidOCR  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise MissingDependency(f'{error}: pip install "ziprerank[ocr]"') from error
    engine: Any = RapidOCR(params={"Global.log_level": "error", "Global.use_cls": False})
    logging.getLogger("RapidOCR").setLevel(logging.ERROR)

    def read(pixels: NDArray[np.uint8]) -> str:
        found = engine(pixels[:, :, ::-1].copy(), use_cls=False)  # BGR, as OpenCV has it
        return "\n".join(found.txts or ())

    return read
