"""transformers' Qwen3-VL vision tower on a batch of equal pages: the same modules, one batched attention.

The module's own forward splits the batch into pages for attention, embeds patches with a Conv3d and always runs the
DeepStack mergers. Here pages of one grid go through as ``[B, P, d]``: forward and backward on 16 grey pages of 256 px
take 0.71 s on two cores of an AMD EPYC, the module's own on the same pages 1.22 s.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids
from ziprerank.train.errors import TrainError

from .ranker import Ranker

_FEW_PATCHES = 256  # of a crop: attention written out is faster up to about here


class Tower(nn.Module):
    """Patches to hidden states and visual tokens.

    Args:
        visual: ``model.model.visual`` of a Qwen3-VL model.
        mean, std: the image processor's, the same for all channels.
    """

    def __init__(self, visual: Any, mean: float = 0.5, std: float = 0.5) -> None:
        super().__init__()
        self.visual = visual
        self.merge = int(visual.spatial_merge_size)
        self.patch = int(visual.patch_size)
        self.mean, self.std = mean, std
        self._positions: dict[tuple[int, int], tuple[Tensor, Tensor, Tensor, Tensor]] = {}

    @classmethod
    def of(cls, ranker: Ranker) -> Tower:
        """The tower of a checkpoint, normalising as its processor does.

        Raises:
            TrainError: the processor treats colours differently, so grey pages would not be grey.
        """
        processor = ranker.checkpoint.processor
        values = []
        for key, given in (("image_mean", processor.mean), ("image_std", processor.std)):
            channels = set(given)
            if len(channels) != 1:
                raise TrainError(
                    f"{ranker.checkpoint.path}/preprocessor_config.json: {key} is {list(given)}; stages on stored "
                    "pages read them in grey and need one value for all channels"
                )
            values.append(channels.pop())
        return cls(ranker.module.model.visual, *values)

    def grid(self, pixels: Tensor) -> tuple[int, int]:
        """(rows, cols) of patches of pages ``[B, h, w]`` or ``[B, h, w, 3]``."""
        return pixels.shape[1] // self.patch, pixels.shape[2] // self.patch

    def patches(self, pixels: Tensor) -> Tensor:
        """``[B, h, w, 3]`` or grey ``[B, h, w]`` uint8 -> ``[B, P, C * patch * patch]`` f32, 2 x 2 blocks together."""
        size, merge = self.patch, self.merge
        if pixels.dim() == 3:
            pixels = pixels[..., None]
        batch, height, width, channels = pixels.shape
        rows, cols = height // size, width // size
        blocks = pixels.view(batch, rows // merge, merge, size, cols // merge, merge, size, channels)
        blocks = blocks.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(batch, rows * cols, channels * size * size)
        return (blocks.to(torch.float32) / 255 - self.mean) / self.std

    def hidden(
        self, patches: Tensor, grid: tuple[int, int], layers: tuple[int, ...] = (), *, depth: int | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """The last hidden state ``[B, P, d]``, and those after ``layers``.

        Args:
            patches: of pages with one ``grid`` of (rows, cols) patches, from `patches`.
            grid: see `grid`.
            layers: blocks (from 0) whose results are wanted, ascending.
            depth: run only that many blocks.
        """
        weight = self.visual.patch_embed.proj.weight.sum(2)  # a still image repeats its frame: [d, 3, p, p]
        if patches.shape[-1] == self.patch**2:
            weight = weight.sum(1)  # grey: the three channels are equal
        state = F.linear(patches, weight.flatten(1), self.visual.patch_embed.proj.bias)
        indices, weights, cos, sin = self._position(grid)
        state = state + (self.visual.pos_embed(indices) * weights[:, :, None]).sum(1)
        kept = []
        for number, block in enumerate(self.visual.blocks[:depth]):
            state = state + self._attention(block.attn, block.norm1(state), cos, sin)
            state = state + block.mlp(block.norm2(state))
            if number in layers:
                kept.append(state)
        return state, kept

    def tokens(self, state: Tensor) -> Tensor:
        """Hidden states ``[B, P, d]`` -> visual tokens ``[B, P / merge**2, H]``."""
        batch = state.shape[0]
        merged: Tensor = self.visual.merger(state.flatten(0, 1))
        return merged.view(batch, -1, merged.shape[-1])

    def deepstack(self, states: list[Tensor]) -> list[Tensor]:
        """Hidden states after the DeepStack layers -> features ``[B, n, H]`` of each level."""
        levels = []
        for merger, state in zip(self.visual.deepstack_merger_list, states, strict=True):
            features: Tensor = merger(state.flatten(0, 1))
            levels.append(features.view(state.shape[0], -1, features.shape[-1]))
        return levels

    def _attention(self, module: Any, state: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, patches, _ = state.shape
        query, key, value = module.qkv(state).view(batch, patches, 3, module.num_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = _attend(_rotate(query, cos, sin), _rotate(key, cos, sin), value)
        result: Tensor = module.proj(mixed.transpose(1, 2).reshape(batch, patches, -1))
        return result

    def _position(self, grid: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Rows of the position table and their weights, both ``[P, 4]``; cosines and sines ``[P, head]``."""
        device = self.visual.pos_embed.weight.device
        if grid not in self._positions or self._positions[grid][0].device != device:
            thw = torch.tensor([[1, *grid]])
            indices, weights = get_vision_interpolation_indices_and_weights(
                thw,
                num_grid_per_side=self.visual.num_grid_per_side,
                mode=self.visual.interpolation_mode,
                align_corners=self.visual.interpolation_align_corners,
                spatial_merge_size=self.merge,
                kwargs={},
            )
            ids = get_vision_position_ids(thw, self.merge, kwargs={})
            cos, sin = self.visual.rotary_pos_emb(torch.zeros(1, device=device), ids.to(device))
            self._positions[grid] = indices.to(device), weights.to(device), cos, sin
        return self._positions[grid]


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention ``[B, heads, P, head]`` over all patches, in the type of ``value``.

    PyTorch's own is slow on many small crops in bfloat16 on a CPU: a step on 32 crops of 128 patches takes 0.40 s with
    it and 0.27 s with the products written out (two cores of an Intel Xeon with AMX). In float32 they take the same,
    and with 1,024 patches PyTorch's own is the faster one.
    """
    if query.shape[-2] > _FEW_PATCHES or query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value)
    scores: Tensor = (query * query.shape[-1] ** -0.5).to(value.dtype) @ key.to(value.dtype).mT
    return scores.softmax(-1).to(value.dtype) @ value


def _rotate(state: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = state.chunk(2, dim=-1)
    return state * cos + torch.cat((-second, first), dim=-1) * sin
