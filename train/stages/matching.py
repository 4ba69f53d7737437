"""Ranking at the price of the decoder: pages of a store, encoded once, and queries drawn from their text.

The same pass and the same losses as the paper's two stages, with pruning in the loop; the tower is frozen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from ziprerank.export.agreement import kendall_tau
from ziprerank.train.data.page_store import PageStore
from ziprerank.train.data.synonyms import Synonyms
from ziprerank.train.errors import TrainError
from ziprerank.train.model import losses
from ziprerank.train.model.ranker import EncodedPage, Ranker, Scored
from ziprerank.train.model.tower import Tower
from ziprerank.train.optim.optimisation import Optimisation
from ziprerank.train.run.loop import Task
from ziprerank.train.run.typed_yaml import plain
from ziprerank.train.teachers.bm25 import Bm25

from . import maxsim
from .features import Features, write_features
from .finding import Finding, View, find, reworded, view_of
from .listwise import RANKING_WEIGHT
from .ranking import WEIGHTS, check_most, check_ratios, load_ranker
from .reading import is_held_out

_WHOLE = 10_000  # cells: longer than any page
_TRIES = 1000  # sets of pages, before a store is said to hold no queries


@dataclass(frozen=True, kw_only=True)
class MatchingStage:
    """Settings of the stage.

    Attributes:
        store: pages with their text.
        features: folder of the frozen tower's visual tokens; computed when it does not exist yet.
        most_pages: pages of the store that are encoded, document by document.
        trained: ``decoder``, or only a constructed one's ``comparison`` (`maxsim.comparison`), by AdamW without decay.
        loss: ``listwise``, that of the paper's first stage on the teacher's order (10 times weighted RankNet, and the
            language-model loss, here of the first letter alone: a constructed decoder writes no order), or
            ``soft_ranking``, that of the second: the page the query came from, then the teacher's order.
        candidates: fewest and most pages of an example, of one document.
        parts: share of examples whose pages are cut to parts, so that pages of all sizes are seen.
        cells: least and largest longest side of such a part, in visual tokens; one is drawn for each example.
        keep_ratio: share of visual tokens that the decoder reads; one is drawn for each example.
        synonyms: folder of WordNet's files (`data.synonyms`), for reworded queries.
        reworded: share of the queries whose words give way to synonyms, of training and of held-out examples; the
            teacher orders by the words of the page.
        held_out: share of documents, by name, that are only evaluated on.
        evaluate_examples: their number.
    """

    store: Path
    features: Path
    most_pages: int = 1_000_000
    trained: Literal["decoder", "comparison"] = "decoder"
    loss: Literal["listwise", "soft_ranking"] = "soft_ranking"
    candidates: tuple[int, int] = (4, 8)
    parts: float = 0.25
    cells: tuple[int, int] = (8, 24)
    keep_ratio: tuple[float, ...] = (1.0, 0.5, 0.25)
    synonyms: Path | None = None
    reworded: float = 0.0
    held_out: float = 0.04
    evaluate_examples: int = 100

    def __post_init__(self) -> None:
        least, most = self.candidates
        check_most("candidates", most)
        if not 2 <= least <= most:
            raise TrainError(f"candidates are {list(self.candidates)}: fewest first, at least 2")
        check_ratios(self.keep_ratio)
        for name in ("most_pages", "evaluate_examples"):
            if getattr(self, name) < 1:
                raise TrainError(f"{name} is {getattr(self, name)}: must be at least 1")
        if not 1 <= self.cells[0] <= self.cells[1]:
            raise TrainError(f"cells are {list(self.cells)}: least first, at least 1")
        if not 0 <= self.parts <= 1:
            raise TrainError(f"parts is {self.parts}: it is a share of the examples, in [0, 1]")
        if not 0 <= self.reworded <= 1 or (self.reworded > 0 and self.synonyms is None):
            raise TrainError(
                f"reworded is {self.reworded}: it is a share of the queries, in [0, 1], and above 0 it needs synonyms, "
                "a folder of WordNet's files"
            )
        if not 0 <= self.held_out < 1:
            raise TrainError(f"held_out is {self.held_out}: it is a share of the documents, in [0, 1)")

    def task(self, checkpoint: str, *, seed: int, weights: str) -> Task:
        """The task on a checkpoint; computes the features where they are missing.

        Raises:
            TrainError: the store has no documents for it, the features come from another tower, or the checkpoint uses
                DeepStack.
        """
        ranker = load_ranker(checkpoint, "frozen")
        for level, merger in enumerate(ranker.module.model.visual.deepstack_merger_list):
            if any(bool(parameter.any()) for parameter in merger.linear_fc2.parameters()):
                raise TrainError(
                    f"{checkpoint}: DeepStack level {level} is not zero, but features hold visual tokens only; train "
                    "this checkpoint with the stages listwise and pages"
                )
        store = PageStore(self.store)
        tower = Tower.of(ranker)
        if not (self.features / "index.npz").is_file():
            write_features(self.features, tower, store, _chosen(store, self))
        features = Features(self.features, ranker.table.weight.shape[1], tower)
        return MatchingTask(self, ranker, store, features, seed=seed, weights=weights)


@dataclass(frozen=True)
class MatchingBatch:
    """An example.

    Attributes:
        query: words in lower case.
        tokens, grids: each page's visual tokens ``[n, H]`` f32, and its (rows, cols) in patches.
        truth: the page that the query was drawn from.
        order: the teacher's, truth first.
        keep_ratio: share of visual tokens that the decoder reads.
    """

    query: str
    tokens: list[Tensor]
    grids: list[tuple[int, int]]
    truth: int
    order: tuple[int, ...]
    keep_ratio: float


class MatchingTask:
    """The stage on a store."""

    name = "matching"

    def __init__(
        self, stage: MatchingStage, ranker: Ranker, store: PageStore, features: Features, *, seed: int, weights: str
    ) -> None:
        self.stage, self.ranker, self.store, self.features = stage, ranker, store, features
        self.seed, self.weights, self.settings = seed, weights, plain(stage)
        ranker.module.requires_grad_(False)
        decoder: nn.Module = ranker.module.model.language_model
        if stage.trained == "comparison":
            _train_comparison(decoder)
        else:
            decoder.requires_grad_(True)
            ranker.table.requires_grad_(False)  # visual tokens were taught to point at these
        self.module = decoder
        self.teacher = Bm25()
        self._synonyms = Synonyms(stage.synonyms) if stage.synonyms is not None and stage.reworded else None
        self._levels = len(ranker.config.vision.deepstack)
        self._merge = ranker.config.vision.merge_size
        documents: dict[str, list[int]] = {}
        for number, page in enumerate(features.pages):
            documents.setdefault(store.document(int(page)), []).append(number)
        enough = {name: pages for name, pages in documents.items() if len(pages) >= stage.candidates[0]}
        self._train = [pages for name, pages in enough.items() if not is_held_out(name, stage.held_out)]
        self._held_out = [pages for name, pages in enough.items() if is_held_out(name, stage.held_out)]
        if not self._train:
            raise TrainError(
                f"{stage.store}: no document has {stage.candidates[0]} encoded pages: lower candidates or encode more"
            )

    def check(self, settings: Optimisation) -> None:
        """Raises TrainError for an optimiser that moves parameters without a gradient."""
        if self.stage.trained == "comparison" and (settings.weight_decay or settings.optimiser != "adamw"):
            raise TrainError(
                f"trained is comparison, with {settings.optimiser} and weight_decay {settings.weight_decay:g}: that "
                "moves what must stay, use adamw and 0"
            )

    def batch(self, step: int) -> MatchingBatch:
        """The example of ``step``."""
        return self._draw(np.random.default_rng([self.seed, 1, step]), self._train, parts=self.stage.parts)

    def score(self, batch: MatchingBatch, *, first_letter: bool = False) -> Scored:
        """One pass over the example; ``first_letter`` asks for the language-model loss of the best page's letter."""
        pages = [
            EncodedPage(tokens, tuple(torch.zeros_like(tokens) for _ in range(self._levels)), grid)
            for tokens, grid in zip(batch.tokens, batch.grids, strict=True)
        ]
        target = self.ranker.prompting.target(batch.order)[:1] if first_letter else None
        return self.ranker.score(batch.query, pages, batch.keep_ratio, target=target)

    def loss(self, batch: MatchingBatch, progress: float) -> tuple[Tensor, dict[str, float]]:
        del progress
        scored = self.score(batch, first_letter=self.stage.loss == "listwise")
        count, device = len(batch.tokens), scored.logits.device
        mask = torch.ones(1, count, dtype=torch.bool, device=device)
        logged: dict[str, float] = {}
        if scored.language_loss is not None:
            ranks = torch.empty(1, count, dtype=torch.int64)
            ranks[0, list(batch.order)] = torch.arange(count)
            ranking = losses.ranknet(scored.logits[None], ranks.to(device), mask)
            loss = scored.language_loss + RANKING_WEIGHT * ranking
            logged["language"] = float(scored.language_loss.detach())
        else:
            target = losses.order_target(batch.order, [batch.truth], count).to(device)
            loss = ranking = losses.soft_ranking(scored.logits[None], target[None], mask)
        logits = scored.logits.detach().float().cpu().numpy()
        first = float(int(logits.argmax()) == batch.truth)
        order = kendall_tau(logits, -np.argsort(batch.order).astype(np.float32))
        return loss, logged | {"ranking": float(ranking.detach()), "first": first, "order": order}

    def evaluate(self, step: int) -> dict[str, float]:
        """Means of what `loss` logs over held-out examples, whole pages at the first keep ratio.

        ``eval_first`` is the share whose page scores highest, ``eval_order`` Kendall's tau with the teacher's order.
        """
        del step
        sums: dict[str, float] = {}
        for number in range(self.stage.evaluate_examples):
            _, values = self.loss(self.held_out(number), 0.0)
            for name, value in values.items():
                sums[f"eval_{name}"] = sums.get(f"eval_{name}", 0.0) + value / self.stage.evaluate_examples
        return sums

    def held_out(self, number: int) -> MatchingBatch:
        """A held-out example, whole pages at the first keep ratio.

        Raises:
            TrainError: no document is held out.
        """
        if not self._held_out:
            raise TrainError(f"{self.stage.store}: no document is held out, raise held_out above {self.stage.held_out}")
        rng = np.random.default_rng([self.seed, 2, number])
        return self._draw(rng, self._held_out, keep_ratio=self.stage.keep_ratio[0])

    def save(self, directory: Path) -> None:
        self.ranker.save(directory, dtype=WEIGHTS[self.weights])

    def _draw(
        self,
        rng: np.random.Generator,
        documents: list[list[int]],
        *,
        parts: float = 0.0,
        keep_ratio: float | None = None,
    ) -> MatchingBatch:
        ratios, (least, most) = self.stage.keep_ratio, self.stage.cells
        for _ in range(_TRIES):
            pages = documents[int(rng.integers(len(documents)))]
            count = min(int(rng.integers(self.stage.candidates[0], self.stage.candidates[1] + 1)), len(pages))
            numbers = [pages[int(index)] for index in rng.permutation(len(pages))[:count]]
            cells = int(rng.integers(least, most + 1)) if rng.random() < parts else _WHOLE
            views = [view_of(self.store[int(self.features.pages[n])], n, rng, cells, cells) for n in numbers]
            found = find(rng, views, self.teacher)
            if found is not None:
                if self._synonyms is not None and rng.random() < self.stage.reworded:
                    found = replace(found, query=reworded(rng, found.query, self._synonyms))
                return self._example(found, keep_ratio or ratios[int(rng.integers(len(ratios)))])
        raise TrainError(
            f"{self.stage.store}: {_TRIES} sets of pages gave no query that tells one from the others: use documents "
            "with more text, or larger cells"
        )

    def _example(self, found: Finding, keep_ratio: float) -> MatchingBatch:
        return MatchingBatch(
            query=found.query,
            tokens=[self._tokens(view) for view in found.views],
            grids=[(view.rows * self._merge, view.cols * self._merge) for view in found.views],
            truth=found.truth,
            order=found.order,
            keep_ratio=keep_ratio,
        )

    def _tokens(self, view: View) -> Tensor:
        page = self.features.tokens(view.number)
        part = page[view.top : view.top + view.rows, view.left : view.left + view.cols]
        return part.reshape(view.rows * view.cols, -1)


def _train_comparison(decoder: nn.Module) -> None:
    parameters = dict(decoder.named_parameters())
    for name, mask in maxsim.comparison().items():
        parameter = parameters.get(name)
        if parameter is None or parameter.shape != mask.shape:
            found = "none" if parameter is None else list(parameter.shape)
            raise TrainError(
                f"trained is comparison, but {name} is {found} where a constructed decoder has {list(mask.shape)}: "
                "give the stage construct first, or train the decoder"
            )
        parameter.requires_grad_(True)
        parameter.register_hook(partial(_masked, mask))  # type: ignore[no-untyped-call]  # torch leaves it so


def _masked(mask: Tensor, gradient: Tensor) -> Tensor:
    return gradient * mask.to(gradient.device)


def _chosen(store: PageStore, stage: MatchingStage) -> list[int]:
    """Pages to encode: of documents with enough pages, document by document, in an order that is always the same."""
    enough = [pages for pages in store.documents.values() if len(pages) >= stage.candidates[0]]
    order = np.random.default_rng(0).permutation(len(enough))
    return [page for number in order for page in enough[int(number)]][: stage.most_pages]
