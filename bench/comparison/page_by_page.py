"""The passes of the pointwise system on PyTorch: one sequence per page, pages of one size in a batch."""

from __future__ import annotations

from itertools import groupby
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer
from ziprerank.bundle import Bundle
from ziprerank.prompt import PromptBuilder

from .cases import Read
from .torch_model import Features, TorchModel


class PageByPage:
    """Scores each page by itself, as Qwen3-VL-Reranker's own code does, which takes one page at a time.

    Attributes:
        bundle: whose prompt is read.
        prompt: of a page.
        batch: pages in a pass.
        batches_ms: milliseconds of all passes by batch, filled by `choose_batch`.
    """

    def __init__(self, model: TorchModel, query: str, bundle: Bundle) -> None:
        """Builds the prompt.

        Args:
            model: the checkpoint.
            query: what is looked for.
            bundle: one that scores each page by itself; of one with letters, the prompt for one page is read.
        """
        self.model, self.bundle = model, bundle
        prompts = PromptBuilder(bundle)
        self.prompt = prompts.build(prompts.check_query(query), 1, prompts.check_instruction(None))
        tokenizer = Tokenizer.from_file(str(bundle.path / "tokenizer.json"))
        yes, no = (tokenizer.encode(word, add_special_tokens=False).ids[0] for word in ("yes", "no"))
        self._yes, self._no = yes, no
        self._row = model.head_row(yes, no)
        self.batch = 1
        self.batches_ms: dict[int, float] = {}

    @torch.inference_mode()
    def log_odds(self, features: Features) -> tuple[list[float], Read]:
        """Scores the pages by the last hidden state times the head's row of "yes" less that of "no".

        Args:
            features: encoded pages; those of one size go through the decoder in batches, without padding.

        Returns:
            The log-odds of the pages, and the tokens read.
        """
        read = Read()
        found: dict[int, float] = {}
        sizes = [tuple(grid) for grid in features.grids.tolist()]
        order = sorted(range(len(sizes)), key=lambda page: sizes[page])
        for _, group in groupby(order, key=lambda page: sizes[page]):
            same_size = list(group)
            for first in range(0, len(same_size), self.batch):
                batch = same_size[first : first + self.batch]
                for page in batch:
                    read.add(len(self.prompt.text_ids), [len(features.tokens[page])])
                packed = self.model.stack([self.model.pack(self.prompt.text_ids, features, [page]) for page in batch])
                scores = (self.model.last_hidden(packed) @ self._row).float()
                found.update(zip(batch, scores.tolist(), strict=True))
        read.kept = read.visual
        return [found[page] for page in range(len(sizes))], read

    @torch.inference_mode()
    def whole(self, page: NDArray[np.uint8], features: Features) -> float:
        """Returns the log-odds of one page by transformers' own ``forward``, to compare with the parts.

        Args:
            page: pixels ``[h, w, 3]``.
            features: of the page, for its number of visual tokens.
        """
        logits = self.model.whole(self.prompt.text_ids, self.model.process([Image.fromarray(page)]), features)
        return float(logits[self._yes] - logits[self._no])

    def choose_batch(self, features: Features) -> int:
        """Sets the batch to the fastest among 1, 2, 4, ... and all pages, and returns it.

        After a warm-up of one page at a time, each size is run once, and the two fastest once more.
        """
        pages = len(features.tokens)
        sizes = [2**power for power in range(pages.bit_length()) if 2**power < pages]
        self._batch_ms(features, 1)
        self.batches_ms = {size: self._batch_ms(features, size) for size in [*sizes, pages]}
        for size in sorted(self.batches_ms, key=lambda size: self.batches_ms[size])[:2]:
            self.batches_ms[size] = min(self.batches_ms[size], self._batch_ms(features, size))
        self.batch = min(self.batches_ms, key=lambda size: self.batches_ms[size])
        return self.batch

    def _batch_ms(self, features: Features, size: int) -> float:
        self.batch = size
        started = perf_counter()
        self.log_odds(features)
        self.model.finish()
        return (perf_counter() - started) * 1e3
