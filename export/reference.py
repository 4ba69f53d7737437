"""ZipRerank on transformers' own Qwen3-VL in float32, which bundles are compared with. Needs PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration
from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids
from ziprerank.kernels import reference as pruning
from ziprerank.strict_json import Fields

from .config import ARCHITECTURE, ModelConfig
from .errors import CheckpointError


@dataclass(frozen=True, slots=True)
class EncodedPage:
    """A page after the vision tower.

    Attributes:
        tokens: ``[n, H]``: the visual tokens that were read.
        deepstack: ``[n, H]`` for each DeepStack level of these tokens.
        grid: Rows and columns of the page in patches.
        read: ``[n]``: indices of the tokens that were read, ascending.
    """

    tokens: Tensor
    deepstack: tuple[Tensor, ...]
    grid: tuple[int, int]
    read: Tensor


@dataclass(frozen=True, slots=True)
class ReferenceScores:
    """Result of one pass.

    Attributes:
        logits: ``[20]``, of the letters; ``[1]``, the log-odds of yes, where the answers are yes and no.
        kept: For each page the indices of its kept visual tokens, ascending.
        relevance: For each page the relevance of all its visual tokens, -inf for those that were not read.
    """

    logits: NDArray[np.float32]
    kept: tuple[NDArray[np.int64], ...]
    relevance: tuple[NDArray[np.float32], ...]


class Reference:
    """Scores a window as a bundle does, with transformers' modules.

    Args:
        checkpoint: A directory in Hugging Face format.
        mean: Of a pixel's value / 255, for each channel.
        std: The standard deviation, for each channel.
        letters: Token ids of the letters; empty where the answers are yes and no.
        yes_no: Token ids of yes and of no.
    """

    def __init__(
        self,
        checkpoint: Path,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        letters: Sequence[int] = (),
        yes_no: tuple[int, int] | None = None,
    ) -> None:
        self.model = Qwen3VLForConditionalGeneration.from_pretrained(
            checkpoint, dtype=torch.float32, local_files_only=True, attn_implementation="sdpa"
        )
        self.model.train(False)
        content = {**self.model.config.to_dict(), "architectures": [ARCHITECTURE]}
        self.config = ModelConfig.parse(Fields(content, "config.json", CheckpointError))
        self.mean, self.std = torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)
        head = self.model.lm_head.weight
        self.head = head[list(letters)] if yes_no is None else (head[yes_no[0]] - head[yes_no[1]])[None]

    @torch.inference_mode()
    def encode(self, pixels: NDArray[np.uint8], read: NDArray[np.int64] | None = None) -> EncodedPage:
        """Runs the vision tower on one page.

        Args:
            pixels: ``[h, w, 3]``, sides are multiples of patch size x merge size.
            read: Indices of the visual tokens to read, ascending; attention is among these alone. None: all.
        """
        vision = self.config.vision
        size, merge = vision.patch_size, vision.merge_size
        image = (torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).float() / 255 - self.mean) / self.std
        rows, cols = image.shape[1] // size, image.shape[2] // size
        blocks = image.view(3, rows // merge, merge, size, cols // merge, merge, size)
        patches = blocks.permute(1, 4, 2, 5, 0, 3, 6).reshape(rows * cols, 3, 1, size, size)
        patches = patches.expand(-1, -1, vision.temporal_patch_size, -1, -1).reshape(rows * cols, -1)
        grid = torch.tensor([[1, rows, cols]])
        if read is not None:
            chosen = torch.from_numpy(read)
            return EncodedPage(*self._read(patches, grid, chosen), (rows, cols), chosen)
        output = self.model.model.visual(patches, grid_thw=grid, return_dict=True)
        everything = torch.arange(rows * cols // merge**2)
        return EncodedPage(output.pooler_output, tuple(output.deepstack_features), (rows, cols), everything)

    def _read(self, patches: Tensor, grid: Tensor, read: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Repeats the ``forward`` of transformers' tower on some visual tokens; returns tokens and DeepStack levels."""
        visual = self.model.model.visual
        merge = self.config.vision.merge_size
        indices, weights = get_vision_interpolation_indices_and_weights(
            grid,
            num_grid_per_side=visual.num_grid_per_side,
            mode=visual.interpolation_mode,
            align_corners=visual.interpolation_align_corners,
            spatial_merge_size=merge,
            kwargs={},
        )
        state = visual.patch_embed(patches) + (visual.pos_embed(indices) * weights[:, :, None]).sum(1)
        cos, sin = visual.rotary_pos_emb(state, get_vision_position_ids(grid, merge, kwargs={}))
        rows = (read[:, None] * merge**2 + torch.arange(merge**2)).flatten()
        state, position = state[rows], (cos[rows], sin[rows])
        levels = []
        for number, block in enumerate(visual.blocks):
            lengths = torch.tensor([0, len(rows)], dtype=torch.int32)
            state = block(state, cu_seqlens=lengths, max_seqlen=len(rows), position_embeddings=position)
            if number in visual.deepstack_visual_indexes:
                merger = visual.deepstack_merger_list[visual.deepstack_visual_indexes.index(number)]
                levels.append(merger(state))
        return visual.merger(state), tuple(levels)

    @torch.inference_mode()
    def score(
        self,
        text_ids: Sequence[int],
        pages: Sequence[EncodedPage],
        keep_ratio: float,
        query_mask: Sequence[bool] | None = None,
    ) -> ReferenceScores:
        """Runs one pass.

        Args:
            text_ids: The tokenised prompt, with one image pad for each page.
            pages: At most 20; none for a text alone.
            keep_ratio: Share of each page's visual tokens to keep, in (0, 1].
            query_mask: Which tokens of ``text_ids`` visual tokens are compared with; None: all before the first image
                except vision markers.
        """
        expanded, is_visual = self._expand(text_ids, pages)
        positions, _ = self.model.model.get_rope_index(
            expanded[None],
            image_grid_thw=torch.tensor([[1, *page.grid] for page in pages]) if pages else None,
            mm_token_type_ids=is_visual.long()[None],
        )
        table = self.model.get_input_embeddings()
        mask = self._all_before_image(text_ids) if query_mask is None else torch.tensor(query_mask)
        compared = table(torch.tensor(text_ids)[mask])

        kept, relevance, keep_sequence = [], [], ~is_visual
        visual_slots = is_visual.nonzero().flatten()
        start = 0
        embeddings = table(expanded)
        for page in pages:
            count = self._count(page)  # the keep ratio is a share of all of the page's tokens
            keep = min(len(page.read), pruning.keep_count(count, keep_ratio))
            chosen = pruning.prune(page.tokens, compared, torch.tensor([0, len(page.read)]), torch.tensor([keep]))
            slots = visual_slots[start + page.read[chosen]]
            keep_sequence[slots] = True
            embeddings[slots] = page.tokens[chosen]
            kept.append(chosen)
            relevance.append(torch.full((count,), -torch.inf))
            relevance[-1][page.read] = pruning.relevance(page.tokens, compared)
            start += count

        levels = [
            torch.cat([page.deepstack[level][chosen] for page, chosen in zip(pages, kept, strict=True)])
            for level in range(len(self.config.vision.deepstack))
            if pages
        ]
        hidden = self.model.model.language_model(
            inputs_embeds=embeddings[keep_sequence][None],
            position_ids=positions[:, :, keep_sequence],
            attention_mask=None,
            visual_pos_masks=is_visual[keep_sequence][None] if pages else None,
            deepstack_visual_embeds=levels if pages else None,
            use_cache=False,
        ).last_hidden_state
        logits = self.head @ hidden[0, -1]
        return ReferenceScores(
            logits.numpy(),
            tuple(page.read[chosen].numpy() for page, chosen in zip(pages, kept, strict=True)),
            tuple(values.numpy() for values in relevance),
        )

    def _count(self, page: EncodedPage) -> int:
        """Counts all visual tokens of the page, read or not."""
        rows, cols = page.grid
        return int(rows * cols // self.config.vision.merge_size**2)

    def _expand(self, text_ids: Sequence[int], pages: Sequence[EncodedPage]) -> tuple[Tensor, Tensor]:
        ids: list[int] = []
        remaining = iter(pages)
        for token in text_ids:
            ids.extend([token] * (self._count(next(remaining)) if token == self.config.image_pad_id else 1))
        expanded = torch.tensor(ids)
        return expanded, expanded == self.config.image_pad_id

    def _all_before_image(self, text_ids: Sequence[int]) -> Tensor:
        ids = torch.tensor(text_ids)
        is_image = ids == self.config.image_pad_id
        first_image = int(is_image.int().argmax()) if is_image.any() else len(ids)
        markers = (ids == self.config.vision_start_id) | (ids == self.config.vision_end_id)
        return (torch.arange(len(ids)) < first_image) & ~markers
