"""Stage 0, for models trained from scratch: visual tokens learn to say which words are printed under them.

Each visual token is trained to point, in the space of the tied and frozen token embeddings, at the tokens printed in
its 32 x 32 px: cross entropy between softmax(scale * cosine(visual token, every embedding)) and the tokens' shares.
That is what makes query-image similarity, and so pruning, mean something. An auxiliary head on an early layer spells
the characters out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from ziprerank.train.data.cells import CHARACTERS, SLOTS, label_crop
from ziprerank.train.data.crops import cut, draw_corner, merge_order, scan, vary
from ziprerank.train.data.page_store import MULTIPLE, PageStore
from ziprerank.train.errors import TrainError
from ziprerank.train.model.ranker import Ranker
from ziprerank.train.model.tower import Tower
from ziprerank.train.run.loop import Task

from .features import fold_scale
from .ranking import WEIGHTS, load_ranker

HEADS = "reading_heads.safetensors"
"""Beside the model: the spelling head and the scale, so that another reading stage goes on with them."""
BLANK_TOKEN = 0  # <|endoftext|>: is in no prompt, so blank cells point where no query does
BLANK_WEIGHT = 0.05
_SCALE_PAGES = 12  # 5,000 cells with text
_PRINTED = 33  # characters from here on are ink


@dataclass(frozen=True, kw_only=True)
class Crops:
    """``count`` crops of ``rows`` x ``cols`` cells (32 px) make a micro-batch; it is drawn with this ``share``."""

    count: int
    rows: int
    cols: int
    share: float = 1.0

    def __post_init__(self) -> None:
        if min(self.count, self.rows, self.cols) < 1 or not self.share > 0:
            raise TrainError(f"{self}: count, rows and cols must be at least 1, share above 0")


@dataclass(frozen=True, kw_only=True)
class ReadingStage:
    """Settings of the stage.

    Attributes:
        stores: page stores.
        sizes: of micro-batches.
        shares: how often a crop comes from each store; without them by the stores' numbers of pages.
        longest_side: shortest and longest page taken, by its longest side in px: a page's resolution follows from it.
        spell_after: block (from 0) of the tower whose hidden state the spelling head reads.
        spell_weight: of the spelling loss, beside the reading loss.
        read: false trains spelling alone, through the blocks up to ``spell_after`` and no further: a cheap first stage.
        scanned: share of the crops that look scanned, askew and noisy (`data.crops.scan`); the others vary in contrast.
        compile: run the model through ``torch.compile``, once for each size.
        held_out: share of documents, chosen by name, that training never sees.
    """

    stores: tuple[Path, ...]
    sizes: tuple[Crops, ...]
    shares: tuple[float, ...] = ()
    longest_side: tuple[int, int] = (0, 1 << 30)
    spell_after: int = 2
    spell_weight: float = 0.5
    read: bool = True
    scanned: float = 0.0
    compile: bool = False
    held_out: float = 0.04

    def __post_init__(self) -> None:
        if not self.stores or not self.sizes:
            raise TrainError("stores and sizes must each name at least one")
        if self.shares and (
            len(self.shares) != len(self.stores) or min(self.shares) < 0 or not any(share > 0 for share in self.shares)
        ):
            raise TrainError(f"shares are {list(self.shares)}: give one of at least 0 for each store, or none at all")
        if not 0 <= self.held_out < 1:
            raise TrainError(f"held_out is {self.held_out}: it is a share of the documents, in [0, 1)")
        if not 0 <= self.scanned <= 1:
            raise TrainError(f"scanned is {self.scanned}: it is a share of the crops, in [0, 1]")
        if self.spell_after < 0:
            raise TrainError(f"spell_after is {self.spell_after}: blocks are counted from 0")

    def task(self, checkpoint: str, *, seed: int, weights: str) -> Task:
        """The task on a checkpoint; goes on with its reading heads where it has them.

        Raises:
            TrainError: a store cannot be read or holds no page of ``longest_side``, or the heads do not fit.
        """
        stores = [PageStore(store) for store in self.stores]
        return Reading(self, load_ranker(checkpoint, "frozen"), stores, seed=seed, weights=weights)


@dataclass(frozen=True, slots=True)
class ReadingBatch:
    """Crops and the text in their cells; cells are numbered through the whole batch, row by row.

    Attributes:
        pixels: ``[B, h, w]`` uint8.
        cell, token, weight: ``[p]`` each: which token is in which cell, with which weight.
        blank: ``[q]`` int64: cells without a token.
        slots: ``[B, patches, SLOTS]`` int64 characters, patches in the tower's order.
    """

    pixels: Tensor
    cell: Tensor
    token: Tensor
    weight: Tensor
    blank: Tensor
    slots: Tensor


class Reader(nn.Module):
    """The tower with what the stage adds to it: the spelling head and the scale of the cosines."""

    def __init__(self, tower: Tower, embeddings: Tensor, *, spell_after: int, scale: float = 16.0) -> None:
        super().__init__()
        self.tower = tower
        self.embeddings: Tensor
        self.register_buffer("embeddings", F.normalize(embeddings.detach().float(), dim=-1), persistent=False)
        self.log_scale = nn.Parameter(torch.tensor(log(scale)))
        self.spell = nn.Linear(tower.visual.config.hidden_size, SLOTS * CHARACTERS)
        self.spell_after = spell_after

    def forward(self, pixels: Tensor, *, read: bool) -> tuple[Tensor | None, Tensor]:
        """Run the tower on pixels ``[B, h, w]`` uint8.

        Returns unit visual tokens ``[B, n, H]`` if asked to ``read``, and the hidden state ``[B, P, d]`` to spell from.
        """
        patches, grid = self.tower.patches(pixels), self.tower.grid(pixels)
        if not read:
            return None, self.tower.hidden(patches, grid, depth=self.spell_after + 1)[0]
        state, early = self.tower.hidden(patches, grid, (self.spell_after,))
        return F.normalize(self.tower.tokens(state), dim=-1), early[0]

    def save_heads(self, file: Path) -> None:
        """Write the heads, which are not part of the checkpoint."""
        heads = {f"spell.{name}": value.detach().contiguous() for name, value in self.spell.state_dict().items()}
        save_file({**heads, "log_scale": self.log_scale.detach()}, file, {"spell_after": str(self.spell_after)})

    def load_heads(self, file: Path) -> None:
        """Load what `save_heads` wrote.

        Raises:
            TrainError: they were trained after another block.
        """
        with safe_open(file, "pt") as opened:
            after = (opened.metadata() or {}).get("spell_after")
            if after != str(self.spell_after):
                raise TrainError(
                    f"spell_after is {self.spell_after}: {file} was trained after block {after}, set it to that or "
                    "remove the file"
                )
            names = ("spell.weight", "spell.bias", "log_scale")
            self.load_state_dict({name: opened.get_tensor(name) for name in names}, strict=False)


class Reading:
    """The stage on opened stores.

    It trains the tower's parameters but for the position table and the DeepStack mergers.
    """

    name = "reading"
    no_muon = ("tower.visual.patch_embed", "tower.visual.merger", "tower.visual.pos_embed", "spell", "log_scale")

    def __init__(
        self, stage: ReadingStage, ranker: Ranker, stores: Sequence[PageStore], *, seed: int, weights: str
    ) -> None:
        self.stage, self.ranker, self.seed, self.weights = stage, ranker, seed, weights
        # paths may differ between machines, and compiling changes roundings only
        self.settings = {name: value for name, value in asdict(stage).items() if name not in ("stores", "compile")}
        tower = Tower.of(ranker)
        if stage.spell_after >= len(tower.visual.blocks):
            raise TrainError(f"spell_after is {stage.spell_after}: the tower has {len(tower.visual.blocks)} blocks")
        spread_positions(tower.visual)
        ranker.module.requires_grad_(False)
        for part in (tower.visual.patch_embed, tower.visual.blocks, tower.visual.merger):
            part.requires_grad_(True)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)  # the spelling head starts at random
            self.reader = Reader(tower, ranker.table.weight, spell_after=stage.spell_after)
        self.module: nn.Module = self.reader
        if (heads := ranker.checkpoint.path / HEADS).is_file():
            self.reader.load_heads(heads)
        self._forward = torch.compile(self.reader, dynamic=False) if stage.compile else self.reader
        shortest, longest = stage.longest_side
        self._pages = [
            [
                (store, index)
                for index in training_pages(store, stage.held_out)
                if shortest <= max(store.size(index)) <= longest
            ]
            for store in stores
        ]
        shares = np.array(stage.shares or [len(pages) for pages in self._pages], dtype=float)
        for path, pages, share in zip(stage.stores, self._pages, shares, strict=True):
            if not pages and (share > 0 or not stage.shares):
                raise TrainError(f"{path} holds no page for training of {shortest}..{longest} px: widen longest_side")
        self._shares = shares / shares.sum()
        self._token_weight = token_weights(stores, len(ranker.table.weight))

    def batch(self, step: int) -> ReadingBatch:
        """Micro-batch of ``step``: crops of random pages around a random token each, varied in contrast or scanned."""
        rng = np.random.default_rng([self.seed, step])
        shares = np.array([size.share for size in self.stage.sizes])
        size = self.stage.sizes[rng.choice(len(shares), p=shares / shares.sum())]
        rows, cols = size.rows, size.cols
        pixels = np.empty((size.count, rows * MULTIPLE, cols * MULTIPLE), dtype=np.uint8)
        cells, tokens, weights, slots = [], [], [], []
        for crop in range(size.count):
            pages = self._pages[rng.choice(len(self._pages), p=self._shares)]
            store, index = pages[rng.integers(len(pages))]
            page = store[index]
            top, left = draw_corner(rng, page.token_boxes, page.pixels.shape, rows, cols)
            place = top, left, rows * MULTIPLE, cols * MULTIPLE
            if rng.random() < self.stage.scanned:
                pixels[crop], page = scan(rng, page, *place)
            else:
                pixels[crop] = vary(rng, cut(page.pixels, *place))
            labels = label_crop(page, top, left, rows, cols)
            cells.append(labels.cell + crop * rows * cols)
            tokens.append(labels.token)
            weights.append(labels.weight)
            slots.append(merge_order(labels.slots))
        cell, token = np.concatenate(cells), np.concatenate(tokens)
        weight = np.concatenate(weights) * self._token_weight[token]
        blank = np.setdiff1d(np.arange(size.count * rows * cols), cell)
        return ReadingBatch(
            torch.from_numpy(pixels),
            torch.from_numpy(cell),
            torch.from_numpy(token),
            torch.from_numpy(weight.astype(np.float32)),
            torch.from_numpy(blank),
            torch.from_numpy(np.stack(slots).astype(np.int64)),
        )

    def loss(self, batch: ReadingBatch, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Return the loss and what is logged: the parts of the loss, ``recall`` and ``characters``.

        ``recall`` is the share of tokens of content among the ten nearest of their cell, ``characters`` the share of
        printed ones that are right; each only where a batch has any.
        """
        del progress
        visual, early = self._forward(batch.pixels, read=self.stage.read)
        spelling, logged = self._spelling_loss(early, batch.slots)
        if visual is None:
            return spelling, logged
        reading, recall = self._reading_loss(visual.flatten(0, 1), batch)
        return reading + self.stage.spell_weight * spelling, logged | recall

    def save(self, directory: Path) -> None:
        """The checkpoint, its visual tokens as long as its token embeddings, and the heads."""
        pages = [page for pages in self._pages for page in pages]
        chosen = [store[index] for store, index in pages[:: max(1, len(pages) // _SCALE_PAGES)]]
        fold_scale(self.reader.tower, chosen, float(self.ranker.table.weight.detach().norm(dim=-1).mean()))
        self.ranker.save(directory, dtype=WEIGHTS[self.weights])
        self.reader.save_heads(directory / HEADS)

    def _reading_loss(self, visual: Tensor, batch: ReadingBatch) -> tuple[Tensor, dict[str, float]]:
        """The loss on unit visual tokens ``[B * n, H]``, and what to log."""
        # the vocabulary's other tokens are told apart where they are printed: the batch's own are enough, at a fifth
        # of the cost
        blank_token = batch.token.new_tensor([BLANK_TOKEN])
        known, token = torch.unique(torch.cat([batch.token, blank_token]), return_inverse=True)
        blank_column, token = token[-1], token[:-1]
        used, position = torch.unique(batch.cell, return_inverse=True)
        rows = torch.cat([visual[used], visual[batch.blank]])
        logits = self.reader.log_scale.exp() * rows @ self.reader.embeddings[known].T
        total = torch.logsumexp(logits, dim=-1)
        weight = batch.weight.new_zeros(len(used)).index_add_(0, position, batch.weight)
        share = batch.weight / weight[position]
        importance = weight.clamp(max=1.0)
        loss = (
            importance[position] * share * (total[position] - logits[position, token])
        ).sum() / importance.sum().clamp_min(1e-6)
        if len(batch.blank):
            loss = loss + BLANK_WEIGHT * (total[len(used) :] - logits[len(used) :, blank_column]).mean()
        with torch.no_grad():
            content = batch.weight > 0.6
            top = logits[: len(used)].topk(min(10, len(known)), dim=-1).indices[position[content]]
            right = (top == token[content, None]).any(-1)
        return loss, {"reading": float(loss.detach()), **_share("recall", right)}

    def _spelling_loss(self, early: Tensor, slots: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Cross entropy of the slots' characters, and what to log."""
        if self.stage.read:  # a quarter of the patches keeps spelling alive, and costs a quarter
            chosen = torch.arange(int(slots.shape[1]) // 4, device=slots.device) * 4 + int(slots.sum()) % 4
            early, slots = early[:, chosen], slots[:, chosen]
        logits = self.reader.spell(early).view(-1, CHARACTERS)
        target = slots.reshape(-1)
        loss = F.cross_entropy(logits, target)
        with torch.no_grad():
            printed = target >= _PRINTED
            right = logits[printed].argmax(-1) == target[printed]
        return loss, {"spelling": float(loss.detach()), **_share("characters", right)}


def _share(name: str, right: Tensor) -> dict[str, float]:
    """A mean for the log; nothing where there is nothing to take it over."""
    return {name: float(right.float().mean())} if right.numel() else {}


def spread_positions(visual: Any) -> None:
    """Folds the mean of the learned position table into the patch bias and makes grey weights of the patch embedding.

    A table is stretched over every page, so what it adds to a glyph depends on the page's size; reading does not, and
    M-RoPE's axial cousin in the tower tells neighbours apart. Text has no colour: all channels, and both frames, get
    the mean weight. Done again it changes nothing.
    """
    with torch.no_grad():
        mean = visual.pos_embed.weight.mean(0)
        visual.patch_embed.proj.bias += mean
        visual.pos_embed.weight.zero_()
        weight = visual.patch_embed.proj.weight
        weight.copy_(weight.mean((1, 2), keepdim=True).expand_as(weight))


def training_pages(store: PageStore, held_out: float) -> list[int]:
    """Pages of the documents that training may see; whole documents are held out, chosen by their names."""
    return [index for name, pages in store.documents.items() if not is_held_out(name, held_out) for index in pages]


def is_held_out(document: str, share: float) -> bool:
    """Whether a document belongs to the ``share`` that is kept for evaluation; by its name alone."""
    digest = sum((place + 1) * byte for place, byte in enumerate(document.encode()))
    return digest % 1000 < share * 1000


def token_weights(stores: Sequence[PageStore], vocabulary: int) -> NDArray[np.float32]:
    """Weight of each token in the loss, ``[vocabulary]``.

    1 up to a frequency of 1 in 2,000, then as its inverse root, at least 0.1.
    """
    counts = np.zeros(vocabulary, dtype=np.int64)
    for store in stores:
        counts += np.bincount(store.token_ids, minlength=vocabulary)
    frequency = counts / max(1, counts.sum())
    weights: NDArray[np.float32] = np.clip(np.sqrt(5e-4 / np.maximum(frequency, 1e-9)), 0.1, 1.0).astype(np.float32)
    return weights
