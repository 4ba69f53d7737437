"""What both ranking stages share: which example comes when, the pass over its pages, and the sum of two losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from ziprerank.train.data.examples import MOST_CANDIDATES
from ziprerank.train.data.render import degrade
from ziprerank.train.errors import TrainError
from ziprerank.train.model.ranker import Ranker, Scored, Vision
from ziprerank.train.run.typed_yaml import plain

WEIGHTS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class RankingBatch:
    """One example, ready for the model: pages ``[h, w, 3]`` uint8 in the order shown, and numbers that count in it."""

    query: str
    pages: list[Tensor]
    order: tuple[int, ...]
    """best first; may be partial"""
    truths: tuple[int, ...]
    keep_ratio: float


@dataclass(frozen=True, kw_only=True)
class RankingStage:
    """Settings that both stages share.

    Attributes:
        shuffle: show candidates in a random order, so that a letter says nothing.
        vision: what of the vision tower is trained.
        keep_ratio: share of visual tokens that the decoder reads; of several one is drawn for each example.
        language_weight, ranking_weight: of the two losses.
        scanned: share of pages that training gives the look of a scan (`data.render.degrade`).
        held_out: examples, the first, that are only evaluated on.
    """

    shuffle: bool = True
    vision: Vision = "frozen"
    keep_ratio: tuple[float, ...] = (1.0,)
    language_weight: float = 1.0
    ranking_weight: float = 1.0
    scanned: float = 0.0
    held_out: int = 0

    def __post_init__(self) -> None:
        check_ratios(self.keep_ratio)
        if not 0 <= self.scanned <= 1:
            raise TrainError(f"scanned is {self.scanned}: it is a share of the pages, in [0, 1]")


E = TypeVar("E")
S = TypeVar("S", bound=RankingStage)


class RankingTask(ABC, Generic[E, S]):
    """A task whose micro-batch is one example: a query, at most 20 candidates and their order.

    Every epoch goes through all examples in an order of its own. What is drawn follows from the seed and the
    micro-batch's number alone.
    """

    name: str

    def __init__(self, stage: S, ranker: Ranker, examples: Sequence[E], *, seed: int, weights: str) -> None:
        """Raises TrainError if nothing is left to train on."""
        if stage.held_out >= len(examples):
            raise TrainError(f"{len(examples)} examples, held_out is {stage.held_out}: there must be one to train on")
        self.stage = stage
        self.ranker = ranker
        self.module: nn.Module = ranker.module
        self.examples, self.evaluated = examples[stage.held_out :], examples[: stage.held_out]
        self.seed, self.weights, self.settings = seed, weights, plain(stage)
        self._epoch: tuple[int, Any] = (-1, None)

    @abstractmethod
    def prepare(self, example: E, rng: np.random.Generator, keep_ratio: float, *, training: bool) -> RankingBatch:
        """The example's pages, in the order in which the model sees them."""

    @abstractmethod
    def ranking_loss(self, logits: Tensor, batch: RankingBatch) -> Tensor:
        """The stage's loss on the letters' logits ``[K]``."""

    @abstractmethod
    def target(self, batch: RankingBatch) -> tuple[int, ...]:
        """The ranking that the model should write, best first."""

    def __len__(self) -> int:
        """Examples of an epoch."""
        return len(self.examples)

    def batch(self, step: int) -> RankingBatch:
        epoch, place = divmod(step, len(self.examples))
        if self._epoch[0] != epoch:
            self._epoch = (epoch, np.random.default_rng([self.seed, 0, epoch]).permutation(len(self.examples)))
        rng = np.random.default_rng([self.seed, 1, step])
        keep_ratio = self.stage.keep_ratio[int(rng.integers(len(self.stage.keep_ratio)))]
        batch = self.prepare(self.examples[int(self._epoch[1][place])], rng, keep_ratio, training=True)
        if not self.stage.scanned:
            return batch
        pages = [
            torch.from_numpy(degrade(page.numpy(), rng)) if rng.random() < self.stage.scanned else page
            for page in batch.pages
        ]
        return replace(batch, pages=pages)

    def loss(self, batch: RankingBatch, progress: float) -> tuple[Tensor, dict[str, float]]:
        del progress
        scored = self._scored(batch)
        assert scored.language_loss is not None
        ranking = self.ranking_loss(scored.logits, batch)
        loss = self.stage.language_weight * scored.language_loss + self.stage.ranking_weight * ranking
        right = float(int(scored.logits.detach().argmax()) == self.target(batch)[0])
        return loss, {
            "language": float(scored.language_loss.detach()),
            "ranking": float(ranking.detach()),
            "first": right,
        }

    def evaluate(self, step: int) -> dict[str, float]:
        """Return means over the held-out examples: both losses, and how often the best candidate scores highest.

        The keep ratio is the first of the recipe's, and candidates keep their order.
        """
        del step
        if not self.evaluated:
            raise TrainError("evaluate_every is set but held_out is 0: hold some examples out")
        sums = {"eval_language": 0.0, "eval_ranking": 0.0, "eval_first": 0.0}
        for number, example in enumerate(self.evaluated):
            rng = np.random.default_rng([self.seed, 2, number])
            _, values = self.loss(self.prepare(example, rng, self.stage.keep_ratio[0], training=False), 0.0)
            for name, value in values.items():
                sums[f"eval_{name}"] += value / len(self.evaluated)
        return sums

    def save(self, directory: Path) -> None:
        self.ranker.save(directory, dtype=WEIGHTS[self.weights])

    def _scored(self, batch: RankingBatch) -> Scored:
        target = self.ranker.prompting.target(self.target(batch))
        return self.ranker.score(batch.query, self.ranker.encode_all(batch.pages), batch.keep_ratio, target=target)


def collect(
    rows: Iterable[E], usable: Callable[[E], bool], limit: int | None, skipped: Sequence[TrainError]
) -> list[E]:
    """The examples that can be ranked, at most ``limit``; says on stderr how many rows were left out."""
    examples: list[E] = []
    unusable = 0
    for example in rows:
        if len(examples) == limit:
            break
        if usable(example):
            examples.append(example)
        else:
            unusable += 1
    if skipped or unusable:
        console = Console(stderr=True)
        console.print(
            f"{len(examples)} examples; left out: {unusable} with nothing to rank, {len(skipped)} faulty rows"
        )
        for fault in skipped[:3]:
            console.print(f"  {fault}", markup=False)
    return examples


def load_ranker(checkpoint: str, vision: Vision) -> Ranker:
    """The model of a stage, its parameters in float32: learning rates of 3e-6 are lost in bfloat16's rounding."""
    return Ranker(checkpoint, vision=vision)


def check_ratios(keep_ratio: Sequence[float]) -> None:
    """Raises TrainError unless it is a list of ratios in (0, 1]."""
    if not keep_ratio or not all(0 < ratio <= 1 for ratio in keep_ratio):
        raise TrainError(f"keep_ratio is {list(keep_ratio)}: give one or more ratios in (0, 1]")


def check_most(name: str, most: int) -> None:
    """Raises TrainError unless 2..20 candidates."""
    if not 2 <= most <= MOST_CANDIDATES:
        raise TrainError(f"{name} is {most}: must lie in 2..{MOST_CANDIDATES}")


def places(shown: Sequence[int], numbers: Sequence[int]) -> tuple[int, ...]:
    """Positions of candidates among those shown, in the given order; those not shown are left out."""
    place = {candidate: position for position, candidate in enumerate(shown)}
    return tuple(place[number] for number in numbers if number in place)
