"""ziprerank, timed through its public API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from ziprerank import Ranking, Reranker
from ziprerank.bundle import Blank
from ziprerank.export.host import printed_tokens
from ziprerank.inputs.pages import PageInput, open_pages
from ziprerank.windows import MAX_WINDOW

from .cases import AGAIN, FILE, KEEP_RATIOS, OURS, OURS_POINTWISE, Case, Sample, System
from .nvml import Joules, between

BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
BLOCK = 32  # rows in a block of the engine's page pool; a block belongs to one page


class Ours:
    """One reranker whose page pool holds exactly the pages of a case.

    Before each first query, filler pages evict them, so that a first query can be timed repeatedly in a warm process.

    Attributes:
        name: of the system: `OURS_POINTWISE` where the bundle scores each page by itself.
        keep_ratios: that are measured; what pruning does to pointwise scores is unmeasured.
        grids: visual tokens of each page, (rows, columns).
        read: indices of the visual tokens that reach the model, one array per page.
    """

    def __init__(self, case: Case, precision: str, blank: Blank, provider: str, energy: Joules) -> None:
        self.case, self.precision, self.blank, self.provider = case, precision, blank, provider
        self._energy = energy
        pointwise = case.bundle.defaults.pointwise
        self.name = OURS_POINTWISE if pointwise else OURS
        self.keep_ratios: tuple[float, ...] = KEEP_RATIOS[:1] if pointwise else KEEP_RATIOS
        self.file = case.source
        image, model = case.bundle.image, case.bundle.model
        with open_pages(self.file, image) as sources:
            self.pixels: list[NDArray[np.uint8]] = [source.prepare() for source in sources]
        self.grids = [(page.shape[0] // image.factor, page.shape[1] // image.factor) for page in self.pixels]
        self.read = [
            printed_tokens(page, image.factor) if blank == "drop" else np.arange(rows * cols)
            for page, (rows, cols) in zip(self.pixels, self.grids, strict=True)
        ]
        self._blocks = sum(-(-rows * cols // BLOCK) for rows, cols in self.grids)
        row_bytes = model["levels"] * model["hidden_size"] * BYTES[case.bundle.precision]
        engine = Reranker.from_bundle(
            case.bundle.path, provider=provider, check="size", pool_bytes=self._blocks * BLOCK * row_bytes, blank=blank
        ).engine
        self.reranker = Reranker(case.bundle, engine)
        # a small page grows over the longest side to reach the least area: given as pixels it must not shrink again
        side = max(max(page.shape) for page in self.pixels)
        self.prepared = Reranker(replace(case.bundle, image=replace(image, longest_side=side)), engine)
        self._serial = count()

    def first_query(self, keep_ratio: float) -> Sample:
        """Ranks from the PDF, with none of its pages in the pool. Raises SystemExit if one was there."""
        self._empty_pool()
        before = self.reranker.engine.pool["misses"]
        sample = self._timed(lambda: self._rank(self.reranker, self.file, keep_ratio), keep_ratio, FILE)
        encoded = self.reranker.engine.pool["misses"] - before
        if encoded != self.case.pages:
            raise SystemExit(
                f"{encoded} of {self.case.pages} pages went through the vision tower, the others were in the pool: "
                "this was not a first query"
            )
        return sample

    def next_query(self, keep_ratio: float) -> Sample:
        """Ranks from pixels in memory, with all page features in the pool. Raises SystemExit if one was evicted."""
        before = self.reranker.engine.pool["misses"]
        sample = self._timed(lambda: self.rank_pixels(keep_ratio), keep_ratio, AGAIN)
        if self.reranker.engine.pool["misses"] != before:
            raise SystemExit("the page pool evicted pages of the case: this was not a next query")
        return sample

    def rank_pixels(self, keep_ratio: float) -> Ranking:
        """Ranks from pixels in memory, at the size that the vision tower reads."""
        return self._rank(self.prepared, self.pixels, keep_ratio)

    def _rank(self, reranker: Reranker, pages: PageInput | Sequence[PageInput], keep_ratio: float) -> Ranking:
        return reranker.rank(self.case.query, pages, keep_ratio=keep_ratio, **self.case.options)

    def _empty_pool(self) -> None:
        """Fills the pool with pages of one visual token, each of which takes a whole block."""
        side = self.case.bundle.image.factor
        most = 1 if self.name == OURS_POINTWISE else MAX_WINDOW
        for first in range(0, self._blocks, most):  # least recently used blocks go first
            pages = min(most, self._blocks - first)
            window = self.reranker.engine.window([(side, side)] * pages)
            for slot in range(pages):
                page = np.zeros((side, side, 3), np.uint8)
                page.reshape(-1)[:8] = np.array([next(self._serial)], np.uint64).view(np.uint8)  # a new page each time
                window.encode(slot, page)
            window.close()

    def _timed(self, run: Callable[[], Ranking], keep_ratio: float, start: str) -> Sample:
        energy, started = self._energy(), perf_counter()
        ranking = run()
        total = (perf_counter() - started) * 1e3
        timings, tokens = ranking.timings, ranking.tokens
        return Sample(
            system=System(self.name, self.precision, keep_ratio, blank=self.blank),
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
            energy=between(energy, self._energy()),
        )
