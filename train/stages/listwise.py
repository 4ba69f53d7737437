"""Stage 1: listwise ranking of text passages that are shown as images, by a text reranker's order (arXiv 2605.11864).

Loss: language-model loss on the ranking ``B] > [A] ...`` plus 10 times weighted RankNet on the letters' logits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from ziprerank.train.data.examples import ListwiseExample, read_listwise
from ziprerank.train.data.rankzephyr import read_rankzephyr
from ziprerank.train.data.render import render_passage
from ziprerank.train.errors import TrainError
from ziprerank.train.model import losses
from ziprerank.train.model.pixels import Sizes, fit
from ziprerank.train.model.ranker import Ranker
from ziprerank.train.run.loop import Task

from .ranking import RankingBatch, RankingStage, RankingTask, check_most, collect, load_ranker, places

RANKING_WEIGHT = 10.0
"""What RankNet weighs beside the language-model loss (FIRST, arXiv 2406.15657)."""


@dataclass(frozen=True, kw_only=True)
class ListwiseData:
    """Where the examples are: ``rankzephyr`` conversations, or ``jsonl`` rows of `listwise_row`."""

    path: Path
    format: Literal["rankzephyr", "jsonl"] = "rankzephyr"
    skip_faulty: bool = False
    """leave out rows that cannot be read, instead of ending the run"""
    limit: int | None = None
    """use only that many examples, the first"""


@dataclass(frozen=True, kw_only=True)
class ListwiseStage(RankingStage):
    """Settings of the stage, beside the shared ones.

    Attributes:
        data: the examples.
        passages: most candidates of an example, 2..20. Of more, some are drawn, the teacher's best always.
        size: pixels of a passage's square canvas, before it is fitted to the vision tower's grid.
        weighted: RankNet's pairs count more at the top.
    """

    data: ListwiseData
    passages: int = 20
    size: int = 280
    ranking_weight: float = RANKING_WEIGHT
    weighted: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_most("passages", self.passages)

    def task(self, checkpoint: str, *, seed: int, weights: str) -> Task:
        """The task on a checkpoint; reads the data.

        Raises:
            TrainError: the data cannot be read.
        """
        read = read_rankzephyr if self.data.format == "rankzephyr" else read_listwise
        skipped: list[TrainError] = []
        examples = collect(
            read(self.data.path, skipped.append if self.data.skip_faulty else None),
            lambda example: len(example.passages) > 1 and bool(example.order),
            self.data.limit,
            skipped,
        )
        return ListwiseTask(self, load_ranker(checkpoint, self.vision), examples, seed=seed, weights=weights)


class ListwiseTask(RankingTask[ListwiseExample, ListwiseStage]):
    """The stage on examples. Ties: passages that the order leaves out share the rank behind the last one named."""

    name = "listwise"

    def __init__(
        self, stage: ListwiseStage, ranker: Ranker, examples: list[ListwiseExample], *, seed: int, weights: str
    ) -> None:
        super().__init__(stage, ranker, examples, seed=seed, weights=weights)
        # nothing is scaled down here: the canvas is the size that was asked for
        self.sizes = replace(Sizes.of(ranker.checkpoint), longest_side=stage.size)

    def prepare(
        self, example: ListwiseExample, rng: np.random.Generator, keep_ratio: float, *, training: bool
    ) -> RankingBatch:
        shown = list(range(len(example.passages)))
        if len(shown) > self.stage.passages:
            best, *others = example.order[0], *(index for index in shown if index != example.order[0])
            drawn = rng.permutation(len(others))[: self.stage.passages - 1]
            shown = sorted([best, *(others[int(index)] for index in drawn)])
        if training and self.stage.shuffle:
            shown = [shown[int(index)] for index in rng.permutation(len(shown))]
        pages = [
            fit(Image.fromarray(render_passage(example.passages[index], self.stage.size, rng)), self.sizes)
            for index in shown
        ]
        order = places(shown, example.order)
        return RankingBatch(example.query, [torch.from_numpy(page.copy()) for page in pages], order, (), keep_ratio)

    def target(self, batch: RankingBatch) -> tuple[int, ...]:
        return batch.order

    def ranking_loss(self, logits: Tensor, batch: RankingBatch) -> Tensor:
        ranks = torch.full((1, len(batch.pages)), len(batch.order), dtype=torch.int64)
        for rank, page in enumerate(batch.order):
            ranks[0, page] = rank
        mask = torch.ones(1, len(batch.pages), dtype=torch.bool, device=logits.device)
        return losses.ranknet(logits[None], ranks.to(logits.device), mask, weighted=self.stage.weighted)
