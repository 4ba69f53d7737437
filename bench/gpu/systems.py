"""The two systems, timed by stage: ziprerank's engine, and transformers with the paper's pruning page by page.

Both start from pages as pixels at their final size.
``first``: nothing of the pages is in memory.
``cached``: each system has in memory what it keeps, ziprerank the page features and transformers the pixel values, so
the vision tower of transformers runs again.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from ziprerank.bundle import Bundle
from ziprerank.comparison.torch_model import Features, TorchModel
from ziprerank.export.manifest import read_manifest
from ziprerank.prompt import PromptBuilder
from ziprerank.reranker import Reranker
from ziprerank.runtime.engine import EngineOptions, load_engine

from .aims import CACHED, FIRST
from .device import Device

QUERY = "dividend shareholders board directors"
POOL_BYTES = 2 << 30  # features of 80 Letter pages of the 8B model

Pages = list[NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Run:
    """One timed run.

    Attributes:
        stages: milliseconds by stage.
        total: milliseconds in all.
        logits: of the pages' letters, ``[K]``.
        text: text tokens that the decoder read.
        kept: visual tokens that the decoder read.
        spread: largest less smallest of all 20 logits; None if the system does not return them.
    """

    stages: dict[str, float]
    total: float
    logits: NDArray[np.float64]
    text: int
    kept: int
    spread: float | None = None


def make_pages(count: int, size: tuple[int, int]) -> Pages:
    """Makes ``count`` different pages of random dark strokes on a light ground."""
    random = np.random.default_rng(count)
    pages = []
    height, width = size
    for _ in range(count):
        page = np.full((height, width, 3), 245, np.uint8)
        for _ in range(200):
            y, x = random.integers(0, height - 8), random.integers(0, width - 30)
            page[y : y + random.integers(2, 8), x : x + random.integers(8, 30)] = random.integers(0, 160)
        pages.append(page)
    return pages


class Ours:
    """ziprerank's engine with one provider."""

    name = "ziprerank"

    def __init__(self, bundle: Bundle, provider: str, device: Device) -> None:
        self._reranker = Reranker(bundle, load_engine(bundle, EngineOptions(provider=provider, pool_bytes=POOL_BYTES)))
        self._device = device
        self._shift = itertools.count(1)
        self.info = self._reranker.engine.info

    def runs(self, pages: Pages, keep_ratio: float) -> dict[str, Run]:
        """Ranks the pages shifted by some pixels, which makes them new, and then the same pages again."""
        shift = next(self._shift)
        moved = [np.roll(page, shift, axis=0) for page in pages]
        out = {}
        for start, encoded in ((FIRST, len(pages)), (CACHED, 0)):
            before = self._reranker.engine.pool["misses"]
            out[start] = self.run(moved, keep_ratio)
            found = self._reranker.engine.pool["misses"] - before
            if found != encoded:
                raise SystemExit(f"{start}: {found} pages went through the vision tower, {encoded} were expected")
        return out

    def run(self, pages: Pages, keep_ratio: float) -> Run:
        """Ranks the pages once."""
        found = []
        total = self._device.wall_ms(
            lambda: found.append(self._reranker.rank(QUERY, pages, keep_ratio=keep_ratio, window="off"))
        )
        (ranking,) = found
        timings, tokens = ranking.timings, ranking.tokens
        logits = np.empty(len(pages))
        for page in ranking:
            logits[page.index] = page.score
        stages = {"pages": timings.pages, "tokenize": timings.tokenize, "vision": timings.vision}
        return Run({**stages, "decoder": timings.rerank}, total, logits, tokens.text, tokens.kept)


class Transformers:
    """transformers with SDPA; each stage is timed by itself until the device has finished it."""

    name = "transformers"

    def __init__(self, checkpoint: Path, bundle: Bundle, device: Device) -> None:
        image = read_manifest(bundle.path)["image"]
        self.model = TorchModel(checkpoint, bundle, image["mean"], image["std"], str(device.torch))
        self._prompts = PromptBuilder(bundle)
        self._device = device

    @torch.inference_mode()
    def runs(self, pages: Pages, keep_ratios: Sequence[float]) -> dict[float, dict[str, Run]]:
        """Ranks the pages at every keep ratio; image processor and vision tower run once for all of them.

        At keep ratio 1 the pruning code is skipped.
        """
        shared: dict[str, float] = {}
        prompt = self._prompts.build(self._prompts.check_query(QUERY), len(pages))
        pixels = self._timed(shared, "pages", lambda: self.model.process([Image.fromarray(page) for page in pages]))
        features: Features = self._timed(shared, "vision", lambda: self.model.encode(pixels))
        counts = [len(tokens) for tokens in features.tokens]
        out = {}
        for keep_ratio in keep_ratios:
            own = dict(shared)
            packed = self._timed(own, "pack", lambda: self.model.pack(prompt.text_ids, features, range(len(pages))))
            if keep_ratio < 1:
                whole = packed
                packed = self._timed(
                    own, "prune", lambda whole=whole, ratio=keep_ratio: self.model.prune(whole, prompt, ratio, counts)
                )
            logits = self._timed(
                own, "decoder", lambda packed=packed: self.model.letter_logits(self.model.last_hidden(packed)).cpu()
            )
            text = len(prompt.text_ids) - len(pages)
            kept = int(packed.is_visual.sum())
            letters = logits[: len(pages)].double().numpy()
            spread = float(logits.max() - logits.min())
            cached = {**own, "pages": 0.0}
            out[keep_ratio] = {
                start: Run(stages, sum(stages.values()), letters, text, kept, spread)
                for start, stages in ((FIRST, own), (CACHED, cached))
            }
        return out

    def _timed(self, stages: dict[str, float], name: str, run: Any) -> Any:
        out = []
        stages[name] = self._device.wall_ms(lambda: out.append(run()))
        return out[0]
