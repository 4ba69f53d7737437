"""Qwen3-VL-Reranker's own way of scoring, on transformers' Qwen3-VL in float32: what yes/no bundles are compared with.

Written after the public reference (github.com/QwenLM/Qwen3-VL-Embedding, src/models/qwen3_vl_reranker.py): a chat of a
system turn and a user turn with instruction, query, image and text; images resized once, bicubic, to 4 to 1800 tokens
of 32 x 32 px; token ids cut to 10,240 where the special ones and the last five are spared; the score is the last hidden
state times the head's row for yes less that for no.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from transformers import Qwen2VLImageProcessor, Qwen3VLForConditionalGeneration

SYSTEM = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".'
)
INSTRUCTION = "Given a search query, retrieve relevant candidates that answer the query."
MOST_TOKENS = 10240
TEXTS = ["a short text", "text that says\n<Document>: {image} {text}", "12.5% – “quoted” 🚀"]  # of documents
FACTOR = 32
LEAST, MOST = 4 * FACTOR**2, 1800 * FACTOR**2


class YesNoReference:
    """Scores one document at a time."""

    def __init__(self, checkpoint: Path, tokenizer: Path) -> None:
        self.model = Qwen3VLForConditionalGeneration.from_pretrained(
            checkpoint, dtype=torch.float32, local_files_only=True, attn_implementation="sdpa"
        )
        self.model.train(False)
        self.tokenizer = Tokenizer.from_file(str(tokenizer))
        self.images = Qwen2VLImageProcessor(
            do_resize=False, patch_size=16, merge_size=2, temporal_patch_size=2,
            image_mean=[0.5] * 3, image_std=[0.5] * 3,
        )  # fmt: skip
        self.pad = self.model.config.image_token_id
        decoder = self.tokenizer.get_added_tokens_decoder()
        self.special = {index for index, token in decoder.items() if token.special}
        head = self.model.lm_head.weight.data
        yes, no = self.tokenizer.token_to_id("yes"), self.tokenizer.token_to_id("no")
        self.row = head[yes] - head[no]

    def ids(self, query: str, instruction: str | None, visual_tokens: int, text: str | None) -> list[int]:
        """The token ids of one document's prompt."""
        image = f"<|vision_start|>{'<|image_pad|>' * visual_tokens}<|vision_end|>" if visual_tokens else ""
        user = f"<Instruct>: {instruction or INSTRUCTION}<Query>:{query}\n<Document>:{image}{text or ''}"
        chat = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"
        ids = self.tokenizer.encode(chat, add_special_tokens=False).ids
        return self._cut(ids[:-5]) + ids[-5:]

    def _cut(self, ids: list[int]) -> list[int]:
        if len(ids) <= MOST_TOKENS:
            return ids
        room = MOST_TOKENS - sum(index in self.special for index in ids)
        kept = []
        for index in ids:
            if index in self.special:
                kept.append(index)
            elif room > 0:
                kept.append(index)
                room -= 1
        return kept

    @torch.inference_mode()
    def log_odds(
        self, query: str, image: Image.Image | None = None, text: str | None = None, instruction: str | None = None
    ) -> float:
        """The score of one document before the sigmoid."""
        inputs = {}
        tokens = 0
        if image is not None:
            resized = image.resize(fitted(*image.size)) if fitted(*image.size) != image.size else image
            inputs = dict(self.images(images=[resized], return_tensors="pt"))
            tokens = int(inputs["image_grid_thw"].prod()) // 4
        ids = torch.tensor([self.ids(query, instruction, tokens, text)])
        hidden = self.model.model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=(ids == self.pad).int(),
            **inputs,
        ).last_hidden_state[0, -1]
        return float(hidden @ self.row)


def fitted(width: int, height: int) -> tuple[int, int]:
    """The size that an image is resized to: sides are multiples of 32 px, the area is 4 to 1800 of their squares."""
    rows, cols = max(FACTOR, round(height / FACTOR) * FACTOR), max(FACTOR, round(width / FACTOR) * FACTOR)
    if rows * cols > MOST:
        shrink = math.sqrt(height * width / MOST)
        rows = max(FACTOR, math.floor(height / shrink / FACTOR) * FACTOR)
        cols = max(FACTOR, math.floor(width / shrink / FACTOR) * FACTOR)
    elif rows * cols < LEAST:
        grow = math.sqrt(LEAST / (height * width))
        rows, cols = math.ceil(height * grow / FACTOR) * FACTOR, math.ceil(width * grow / FACTOR) * FACTOR
    return cols, rows


def drawn(number: int, size: tuple[int, int]) -> Image.Image:
    """An image of (width, height) px with something in it, determined by ``number``."""
    rng = np.random.default_rng(number)
    small = rng.integers(0, 256, (size[1] // 8 + 1, size[0] // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size)
