"""Stage 2: ranking of document pages with pruning in the loop, by a vision-language teacher's order (arXiv 2605.11864).

Loss: language-model loss on the ranking plus cross entropy of the letters' softmax against a target that halves with
every place, ground truths first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from ziprerank.train.data.examples import PageExample, read_pages
from ziprerank.train.data.mmdocir import read_mmdocir
from ziprerank.train.errors import TrainError
from ziprerank.train.model import losses
from ziprerank.train.model.pixels import Sizes, load
from ziprerank.train.model.ranker import Ranker
from ziprerank.train.run.loop import Task

from .ranking import RankingBatch, RankingStage, RankingTask, check_most, collect, load_ranker, places


@dataclass(frozen=True, kw_only=True)
class PagesData:
    """Where the examples are.

    Either ``mmdocir`` rankings, with the folder of their unpacked pages, or ``jsonl`` rows of `page_row`.
    """

    path: Path
    format: Literal["mmdocir", "jsonl"] = "mmdocir"
    pages: Path | None = None
    skip_faulty: bool = False
    """leave out rows that cannot be read, instead of ending the run"""
    limit: int | None = None
    """use only that many examples, the first"""

    def __post_init__(self) -> None:
        if (self.format == "mmdocir") != (self.pages is not None):
            raise TrainError(
                f"pages is {self.pages}: the format mmdocir needs the folder of unpacked pages, jsonl none"
            )


@dataclass(frozen=True, kw_only=True)
class PagesStage(RankingStage):
    """Settings of the stage, beside the shared ones.

    Attributes:
        data: the examples.
        candidates: most pages of an example, 2..20; of more the first are taken, the first stage's best.
        longest_side: of a page in pixels; without it what the checkpoint's ``prompt.json`` says, else 1024.
    """

    data: PagesData
    candidates: int = 10
    longest_side: int | None = None
    keep_ratio: tuple[float, ...] = (0.5,)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_most("candidates", self.candidates)
        if self.longest_side is not None and self.longest_side < 32:
            raise TrainError(f"longest_side is {self.longest_side}: must be at least 32 pixels")

    def task(self, checkpoint: str, *, seed: int, weights: str) -> Task:
        """The task on a checkpoint; reads the data.

        Raises:
            TrainError: the data cannot be read.
        """
        skipped: list[TrainError] = []
        faults = skipped.append if self.data.skip_faulty else None
        if self.data.pages is not None:
            rows = read_mmdocir(self.data.path, self.data.pages, self.candidates, faults)
        else:
            rows = read_pages(self.data.path, faults)
        examples = collect(
            rows,
            lambda example: len(example.pages) > 1 and bool(example.order or example.truths),
            self.data.limit,
            skipped,
        )
        return PagesTask(self, load_ranker(checkpoint, self.vision), examples, seed=seed, weights=weights)


class PagesTask(RankingTask[PageExample, PagesStage]):
    """The stage on examples."""

    name = "pages"

    def __init__(
        self, stage: PagesStage, ranker: Ranker, examples: list[PageExample], *, seed: int, weights: str
    ) -> None:
        super().__init__(stage, ranker, examples, seed=seed, weights=weights)
        self.sizes = Sizes.of(ranker.checkpoint, stage.longest_side)

    def prepare(
        self, example: PageExample, rng: np.random.Generator, keep_ratio: float, *, training: bool
    ) -> RankingBatch:
        shown = list(range(min(len(example.pages), self.stage.candidates)))
        if training and self.stage.shuffle:
            shown = [shown[int(index)] for index in rng.permutation(len(shown))]
        order, truths = places(shown, example.order), places(shown, example.truths)
        if not order and not truths:
            raise TrainError(f"{example.id}: neither order nor truths name one of the first {len(shown)} pages")
        pages = [torch.from_numpy(load(example.pages[index], self.sizes).copy()) for index in shown]
        return RankingBatch(example.query, pages, order, truths, keep_ratio)

    def target(self, batch: RankingBatch) -> tuple[int, ...]:
        """Ground truths in the teacher's order, those it left out, then the others in the teacher's order."""
        true = set(batch.truths)
        named = [page for page in batch.order if page in true]
        missed = sorted(true.difference(named))
        return (*named, *missed, *(page for page in batch.order if page not in true))

    def ranking_loss(self, logits: Tensor, batch: RankingBatch) -> Tensor:
        count = len(batch.pages)
        target = losses.order_target(batch.order, batch.truths, count).to(logits.device)
        mask = torch.ones(1, count, dtype=torch.bool, device=logits.device)
        return losses.soft_ranking(logits[None], target[None], mask)
