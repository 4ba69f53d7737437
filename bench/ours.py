"""ziprerank itself, through its public API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from ziprerank import Ranking, Reranker
from ziprerank.pages import PageInput, open_pages
from ziprerank.reranker import load_engine
from ziprerank.windows import MAX_WINDOW

from .cases import AGAIN, FILE, Case, Sample, System

NAME = "ziprerank"
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}


class Ours:
    """One reranker whose page pool holds exactly the pages of ``case``: pages of the same sizes push all of them out,
    so that a first query can be timed again and again in a warm process."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.file = case.source
        with open_pages(self.file, case.bundle.image) as sources:
            self.pixels: list[NDArray[np.uint8]] = [source.prepare() for source in sources]
        self.blanks = [np.full_like(page, number) for number, page in enumerate(self.pixels)]
        # a small page grows over the longest side to reach the least area: given as pixels it must not shrink again
        side = max(max(page.shape) for page in self.pixels)
        rules = replace(case.bundle, image=replace(case.bundle.image, longest_side=side))
        roomy = Reranker(rules, load_engine(rules, "cpu"))
        roomy.rank(case.query, self.blanks, window=min(case.pages, MAX_WINDOW), stride=case.stride)
        model = case.bundle.model
        row_bytes = model["levels"] * model["hidden_size"] * BYTES[case.bundle.precision]
        pool = roomy.engine.pool
        if pool["evictions"]:
            raise SystemExit(f"{case.pages} pages do not fit into a pool of {pool['rows']} rows: measure fewer")
        self.reranker = Reranker.from_bundle(case.bundle.path, check="size", pool_bytes=pool["used_rows"] * row_bytes)
        self.prepared = Reranker(rules, self.reranker.engine)

    def first_query(self, keep_ratio: float) -> Sample:
        """From the PDF, with none of its pages in the pool."""
        self.rank_pixels(self.blanks, keep_ratio)
        before = self.reranker.engine.pool["misses"]
        sample = self._timed(lambda: self._rank(self.reranker, self.file, keep_ratio), keep_ratio, FILE)
        encoded = self.reranker.engine.pool["misses"] - before
        if encoded != self.case.pages:
            raise SystemExit(
                f"{encoded} of {self.case.pages} pages went through the vision tower: the others were in the pool, so "
                "this was no first query"
            )
        return sample

    def next_query(self, keep_ratio: float) -> Sample:
        """From pixels in memory, with all page features in the pool."""
        before = self.reranker.engine.pool["misses"]
        sample = self._timed(lambda: self.rank_pixels(self.pixels, keep_ratio), keep_ratio, AGAIN)
        if self.reranker.engine.pool["misses"] != before:
            raise SystemExit("the pool had lost pages that it should have kept")
        return sample

    def rank_pixels(self, pixels: Sequence[NDArray[np.uint8]], keep_ratio: float) -> Ranking:
        """From pixels as the vision tower sees them."""
        return self._rank(self.prepared, pixels, keep_ratio)

    def _rank(self, reranker: Reranker, pages: PageInput | Sequence[PageInput], keep_ratio: float) -> Ranking:
        window = min(self.case.pages, MAX_WINDOW)
        return reranker.rank(self.case.query, pages, keep_ratio=keep_ratio, window=window, stride=self.case.stride)

    def _timed(self, run: Callable[[], Ranking], keep_ratio: float, start: str) -> Sample:
        started = perf_counter()
        ranking = run()
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
