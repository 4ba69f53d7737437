"""ziprerank itself, through its public API."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from ziprerank import Pdf, Ranking, Reranker
from ziprerank.pages import PageInput, open_pages
from ziprerank.windows import MAX_WINDOW

from .cases import AGAIN, FILE, Case, Sample, System

NAME = "ziprerank"
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}


class Ours:
    """One reranker whose page pool holds exactly the pages of ``case``: pages of the same sizes push all of them out,
    so that a first query can be timed again and again in a warm process."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.file = Pdf(case.pdf, case.page_range)
        with open_pages(self.file, case.bundle.image) as sources:
            self.pixels: list[NDArray[np.uint8]] = [source.prepare() for source in sources]
        self.blanks = [np.full_like(page, number) for number, page in enumerate(self.pixels)]
        roomy = Reranker.from_bundle(case.bundle.path, check="size")
        roomy.rank(case.query, self.blanks, window=min(case.pages, MAX_WINDOW), stride=case.stride)
        model = case.bundle.model
        row_bytes = model["levels"] * model["hidden_size"] * BYTES[case.bundle.precision]
        pool = roomy.engine.pool
        if pool["evictions"]:
            raise SystemExit(f"{case.pages} pages do not fit into a pool of {pool['rows']} rows: measure fewer")
        self.reranker = Reranker.from_bundle(case.bundle.path, check="size", pool_bytes=pool["used_rows"] * row_bytes)

    def first_query(self, keep_ratio: float) -> Sample:
        """From the PDF, with none of its pages in the pool."""
        self.rank(self.blanks, keep_ratio)
        before = self.reranker.engine.pool["misses"]
        sample = self._timed(self.file, keep_ratio, FILE)
        encoded = self.reranker.engine.pool["misses"] - before
        if encoded != self.case.pages:
            raise SystemExit(
                f"{encoded} of {self.case.pages} pages went through the vision tower, the others look like pages "
                "before them: choose a PDF whose pages differ"
            )
        return sample

    def next_query(self, keep_ratio: float) -> Sample:
        """From pixels in memory, with all page features in the pool."""
        before = self.reranker.engine.pool["misses"]
        sample = self._timed(self.pixels, keep_ratio, AGAIN)
        if self.reranker.engine.pool["misses"] != before:
            raise SystemExit("the pool had lost pages that it should have kept")
        return sample

    def rank(self, pages: PageInput | Sequence[PageInput], keep_ratio: float) -> Ranking:
        """As ``first_query`` and ``next_query`` do it, not timed."""
        window = min(self.case.pages, MAX_WINDOW)
        return self.reranker.rank(self.case.query, pages, keep_ratio=keep_ratio, window=window, stride=self.case.stride)

    def _timed(self, pages: PageInput | Sequence[PageInput], keep_ratio: float, start: str) -> tuple[Sample, Ranking]:
        started = perf_counter()
        ranking = self.rank(pages, keep_ratio)
        total = (perf_counter() - started) * 1e3
        timings, tokens = ranking.timings, ranking.tokens
        return Sample(
            system=System(NAME, keep_ratio),
            start=start,
            total=total,
            stages={
                "pages": timings.pages,
                "tokenize": timings.tokenize,
                "vision": timings.vision,
                "decoder": timings.rerank,
            },
            text_tokens=tokens.text,
            visual_tokens=tokens.visual,
            kept_tokens=tokens.kept,
            generated_tokens=0,
        )
