"""What a decoder trained from scratch is told besides the order: one loss for each step of finding a page.

Match: does this visual token's cell hold a word of the query (after the first layer). Relevance: is this the page
(each page's end token, after the second). Ordinal: which page is this (there too). Without them a small decoder stays
at chance for thousands of steps; with them each step is learnt on its own and the letters follow. The heads are thrown
away after training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .model import Scored
from .prompting import MOST_PAGES


@dataclass(frozen=True, kw_only=True)
class AuxiliaryWeights:
    """Weight of each loss, and after which decoder layer (from 0) it reads.

    Attributes:
        match: of the cross entropy, over kept visual tokens, of whether a cell holds a word of the query.
        relevance: of the cross entropy, over pages, of which one answers.
        ordinal: of the cross entropy of each page's number.
        match_layer, page_layer: where the first, and the other two, read.
    """

    match: float = 1.0
    relevance: float = 0.5
    ordinal: float = 0.2
    match_layer: int = 0
    page_layer: int = 1

    @property
    def layers(self) -> tuple[int, ...]:
        """Decoder layers whose hidden states are read."""
        return (self.match_layer, self.page_layer)


class Auxiliary(nn.Module):
    """Linear heads of width H on hidden states; layer-normalised, as the residual stream grows from layer to layer."""

    def __init__(self, width: int, weights: AuxiliaryWeights) -> None:
        super().__init__()
        self.weights = weights
        self.match = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))
        self.page = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1 + MOST_PAGES))

    def forward(self, scored: Scored, matching: Sequence[Tensor], truth: int) -> tuple[Tensor, dict[str, float]]:
        """The weighted sum, and what to log: recall and precision of the matches, how often the page heads are right.

        Args:
            scored: a pass with the hidden states of ``layers``.
            matching: per page, bool ``[n]``: which of its visual tokens, before pruning, match the query.
            truth: the page that answers.
        """
        weights = self.weights
        cells = self.match(scored.hidden[weights.match_layer][scored.visual])[:, 0]
        labels = torch.cat([cell[kept] for cell, kept in zip(matching, scored.kept, strict=True)]).to(cells.dtype)
        # a few cells in a hundred match: the loss weighs them up to a tenth of all
        positive = labels.sum()
        balance = (0.1 * len(labels) / positive.clamp_min(1.0)).clamp(1.0, 30.0)
        match = F.binary_cross_entropy_with_logits(cells, labels, pos_weight=balance)

        ends = self.page(scored.hidden[weights.page_layer][scored.page_ends])
        places = torch.arange(len(ends), device=ends.device)
        relevance = F.cross_entropy(ends[None, :, 0], torch.tensor([truth], device=ends.device))
        ordinal = F.cross_entropy(ends[:, 1:], places)

        found = cells.detach() > 0
        logged = {
            "match_recall": float((found & (labels > 0)).sum() / positive.clamp_min(1)),
            "match_precision": float((found & (labels > 0)).sum() / found.sum().clamp_min(1)),
            "page_first": float(ends[:, 0].detach().argmax() == truth),
            "ordinal": float((ends[:, 1:].detach().argmax(-1) == places).float().mean()),
        }
        return weights.match * match + weights.relevance * relevance + weights.ordinal * ordinal, logged
