"""The checkpoint in transformers, cut into the stages that all systems on PyTorch share.

It runs in float32 on the CPU and in the bundle's dtype on a GPU.
No stage is slower than what users run: page features are computed once for all windows of a query, generation is a
plain loop without the bookkeeping of ``generate``, and only the last position goes through ``lm_head``.
Every run checks that the parts give the logits of ``Qwen3VLForConditionalGeneration.forward`` (`agreement`).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2 as pdfium  # type: ignore[import-untyped]
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from ziprerank.bundle import Bundle
from ziprerank.export.reference import Reference
from ziprerank.prompt import Prompt

DPI = 200  # at which pages are usually rendered for a vision model
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Pixels:
    """The image processor's output: patches ``[P, values]`` of all pages, and the grid of each page."""

    patches: Tensor
    grids: Tensor  # [K, 3]: frames, rows, columns of patches

    def counts(self, merge_size: int) -> list[int]:
        """Returns the number of visual tokens of each page."""
        counts: list[int] = (self.grids.prod(dim=1) // merge_size**2).tolist()
        return counts


@dataclass(frozen=True, slots=True)
class Features:
    """Pages after the vision tower, each with its own number ``n`` of visual tokens."""

    tokens: tuple[Tensor, ...]  # [n, H] each
    deepstack: tuple[tuple[Tensor, ...], ...]  # per level, per page [n, H]
    grids: Tensor


@dataclass(frozen=True, slots=True)
class Packed:
    """The decoder's inputs: embeddings ``[B, S, H]``, positions ``[3, B, S]``, and DeepStack's levels ``[N, H]``."""

    embeddings: Tensor
    positions: Tensor
    is_visual: Tensor  # [B, S]
    deepstack: list[Tensor]


class TorchModel:
    """The stages of the model; callers disable gradients."""

    def __init__(
        self, checkpoint: Path, bundle: Bundle, mean: Sequence[float], std: Sequence[float], device: str = "cpu"
    ) -> None:
        self.bundle, self.device = bundle, torch.device(device)
        self.precision = bundle.precision if self.device.type == "cuda" else "fp32"
        self.dtype = DTYPES[self.precision]
        reference = Reference(checkpoint, mean=mean, std=std, letters=bundle.tokens.letters)
        self.model = reference.model
        torch.nn.Module.to(self.model, self.device, self.dtype)  # transformers' own has no types
        takes = inspect.signature(self.model.model.language_model.forward).parameters
        self._cache = "cache" if "cache" in takes else "past_key_values"  # what transformers called it before
        self.letters = list(bundle.tokens.letters)
        rules = bundle.image
        self.processor = Qwen2VLImageProcessorPil(
            image_mean=list(mean),
            image_std=list(std),
            patch_size=rules.patch_size,
            merge_size=rules.merge_size,
            temporal_patch_size=reference.config.vision.temporal_patch_size,
            size={"longest_edge": rules.max_pixels, "shortest_edge": rules.min_pixels},
        )

    def finish(self) -> None:
        """Waits until the GPU has finished, so that the next reading of a clock covers finished work only."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def render(self, pdf: Path, numbers: Sequence[int]) -> list[Image.Image]:
        """Renders pages, numbered from 1, at 200 dpi and shrinks them with LANCZOS to the bundle's page size.

        The resolution is higher if 200 dpi would give fewer pixels than the page size asks for.
        """
        images = []
        rules = self.bundle.image
        with pdfium.PdfDocument(pdf) as document:
            for number in numbers:
                page = document[number - 1]
                longest_side = float(rules.longest_side)
                if rules.dpi is not None:
                    longest_side = min(longest_side, max(page.get_size()) * rules.dpi / 72)
                scale = max(DPI / 72, longest_side / max(page.get_size()))
                image = page.render(scale=scale).to_pil().convert("RGB")
                shrink = longest_side / max(image.size)
                if shrink < 1:
                    size = (max(1, int(image.width * shrink)), max(1, int(image.height * shrink)))
                    image = image.resize(size, Image.Resampling.LANCZOS)
                images.append(image)
        return images

    def process(self, images: Sequence[Image.Image]) -> Pixels:
        """Runs transformers' image processor."""
        output = self.processor(images=list(images), return_tensors="pt")
        return Pixels(output["pixel_values"], output["image_grid_thw"])

    def encode(self, pixels: Pixels) -> Features:
        """Runs the vision tower on all pages at once, as transformers does."""
        patches = pixels.patches.to(self.device, self.dtype)
        output = self.model.model.visual(patches, grid_thw=pixels.grids.to(self.device), return_dict=True)
        counts = pixels.counts(self.bundle.image.merge_size)
        return Features(
            tuple(output.pooler_output.split(counts)),
            tuple(tuple(level.split(counts)) for level in output.deepstack_features),
            pixels.grids,
        )

    def pack(self, text_ids: NDArray[np.int64], features: Features, pages: Sequence[int]) -> Packed:
        """Builds the unpruned sequence of one window.

        Args:
            text_ids: token ids ``[T]`` with one image pad per page.
            features: of all pages.
            pages: the window's pages, by their index in ``features``.
        """
        ids, is_visual = self.expand(text_ids, features, pages)
        positions, _ = self.model.model.get_rope_index(
            ids[None], image_grid_thw=features.grids[list(pages)], mm_token_type_ids=is_visual.long()[None]
        )
        ids, positions, is_visual = (part.to(self.device) for part in (ids, positions, is_visual))
        embeddings = self.model.get_input_embeddings()(ids)
        embeddings[is_visual] = torch.cat([features.tokens[page] for page in pages])
        levels = [torch.cat([level[page] for page in pages]) for level in features.deepstack]
        return Packed(embeddings[None], positions, is_visual[None], levels)

    def expand(self, text_ids: NDArray[np.int64], features: Features, pages: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Returns the token ids ``[S]`` with one image pad per visual token, and a mask of the pads."""
        ids: list[int] = []
        remaining = iter(pages)
        pad = self.bundle.tokens.image_pad
        for token in text_ids.tolist():
            ids.extend([token] * (len(features.tokens[next(remaining)]) if token == pad else 1))
        expanded = torch.tensor(ids)
        return expanded, expanded == pad

    def stack(self, packed: Sequence[Packed]) -> Packed:
        """Stacks sequences of the same shape into a batch."""
        return Packed(
            torch.cat([one.embeddings for one in packed]),
            torch.cat([one.positions for one in packed], dim=1),
            torch.cat([one.is_visual for one in packed]),
            [torch.cat(level) for level in zip(*(one.deepstack for one in packed), strict=True)],
        )

    def prune(self, packed: Packed, prompt: Prompt, keep_ratio: float, counts: Sequence[int]) -> Packed:
        """Prunes page by page as the paper describes it: [text, page] cosines, their maximum over text, top-k."""
        ids = torch.from_numpy(prompt.text_ids)
        text = self.model.get_input_embeddings()(ids[self._compared(ids, prompt.query_mask)].to(self.device)).float()
        slots = packed.is_visual[0].nonzero().flatten()
        keep_sequence = ~packed.is_visual[0]
        kept = []
        start = 0
        for count in counts:
            visual = packed.embeddings[0, slots[start : start + count]].float()
            similarity = functional.normalize(text, dim=1) @ functional.normalize(visual, dim=1).T  # [T, n]
            best = similarity.max(dim=0).values.topk(max(1, round(keep_ratio * count))).indices.sort().values + start
            keep_sequence[slots[best]] = True
            kept.append(best)
            start += count
        chosen = torch.cat(kept)
        return Packed(
            packed.embeddings[:, keep_sequence],
            packed.positions[:, :, keep_sequence],
            packed.is_visual[:, keep_sequence],
            [level[chosen] for level in packed.deepstack],
        )

    def last_hidden(self, packed: Packed) -> Tensor:
        """Runs the decoder in one pass; returns the hidden states ``[B, H]`` at the last position."""
        hidden: Tensor = self._decoder(packed, use_cache=False).last_hidden_state[:, -1]
        return hidden

    def prefill(self, packed: Packed) -> tuple[Tensor, object]:
        """Does the same and also returns a key-value cache, for generation."""
        output = self._decoder(packed, use_cache=True)
        return output.last_hidden_state[:, -1], getattr(output, self._cache)

    def step(self, token: Tensor, position: int, cache: object) -> Tensor:
        """Reads one generated token ``[1]``; returns the hidden state ``[1, H]``."""
        output = self.model.model.language_model(
            inputs_embeds=self.model.get_input_embeddings()(token)[None],
            position_ids=torch.full((3, 1, 1), position, device=self.device),
            use_cache=True,
            **{self._cache: cache},
        )
        hidden: Tensor = output.last_hidden_state[:, -1]
        return hidden

    def lm_head(self, hidden: Tensor) -> Tensor:
        """Returns logits ``[B, vocabulary]`` of hidden states ``[B, H]``."""
        logits: Tensor = self.model.lm_head(hidden)
        return logits

    def head_row(self, yes: int, no: int) -> Tensor:
        """Returns the head's row of ``yes`` less that of ``no``, ``[H]``: all that log-odds need of it."""
        head: Tensor = self.model.lm_head.weight.data
        return head[yes] - head[no]

    def letter_logits(self, hidden: Tensor) -> Tensor:
        """Returns the letters' logits ``[20]`` of the hidden state ``[1, H]`` at the last position."""
        logits: Tensor = self.lm_head(hidden)[0, self.letters]
        return logits.float()

    def whole(self, text_ids: NDArray[np.int64], pixels: Pixels, features: Features) -> Tensor:
        """Returns the last logits ``[vocabulary]`` of transformers' ``forward``, to compare with the parts.

        Args:
            text_ids: token ids with one image pad per page.
            pixels: of the pages.
            features: of the pages, for their numbers of visual tokens.
        """
        ids, is_visual = self.expand(text_ids, features, range(len(features.tokens)))
        output = self.model(
            input_ids=ids[None].to(self.device),
            pixel_values=pixels.patches.to(self.device, self.dtype),
            image_grid_thw=pixels.grids.to(self.device),
            mm_token_type_ids=is_visual.int()[None].to(self.device),
            logits_to_keep=1,
            use_cache=False,
        )
        logits: Tensor = output.logits[0, -1]
        return logits.float()

    def _decoder(self, packed: Packed, *, use_cache: bool) -> Any:
        return self.model.model.language_model(
            inputs_embeds=packed.embeddings,
            position_ids=packed.positions,
            attention_mask=None,
            visual_pos_masks=packed.is_visual,
            deepstack_visual_embeds=packed.deepstack,
            use_cache=use_cache,
        )

    def _compared(self, ids: Tensor, query_mask: NDArray[np.bool_] | None) -> Tensor:
        """Returns a mask ``[T]`` of the text tokens that visual tokens are compared with."""
        if query_mask is not None:
            return torch.from_numpy(query_mask)
        tokens = self.bundle.tokens
        first_image = int((ids == tokens.image_pad).nonzero()[0])
        markers = (ids == tokens.vision_start) | (ids == tokens.vision_end)
        return (torch.arange(len(ids)) < first_image) & ~markers
