"""ZipRerank for training, on transformers' own Qwen3-VL: the pass that a bundle runs, with gradients."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen3VLForConditionalGeneration
from ziprerank.export.checkpoint import Checkpoint
from ziprerank.kernels import gather_kept, reference
from ziprerank.kernels import prune as prune_on_device
from ziprerank.train.errors import TrainError

from .prompting import Prompting

Vision = Literal["frozen", "merger", "trained"]


@dataclass(frozen=True)
class EncodedPage:
    """A page after the vision tower: visual tokens ``[n, H]``, DeepStack levels ``[n, H]`` each, grid in patches."""

    tokens: Tensor
    deepstack: tuple[Tensor, ...]
    grid: tuple[int, int]


@dataclass(frozen=True)
class Scored:
    """One pass over a query and K pages; S is the length of the packed sequence, the target's tokens included.

    Attributes:
        logits: ``[K]`` float32, page i's is letter i's.
        kept: per page its kept visual tokens, int64, ascending.
        language_loss: mean cross entropy over the target's tokens, or None without a target.
        text_ids: prompt tokens with one pad per page, as compared with the pages.
    """

    logits: Tensor
    kept: tuple[Tensor, ...]
    language_loss: Tensor | None
    text_ids: list[int] = field(repr=False)


class Ranker:
    """A checkpoint that scores pages, and can be trained and saved.

    Args:
        checkpoint: directory in Hugging Face format (or a hub id), with its tokenizer and ``preprocessor_config.json``.
        vision: ``frozen``: the vision tower gets no gradients; ``merger``: only what turns its output into visual
            tokens and DeepStack levels does; ``trained``: all of it.
        dtype: of the parameters.

    Attributes:
        checkpoint: what was opened.
        module: ``Qwen3VLForConditionalGeneration``; ``requires_grad`` is set by ``vision``.
        prompting: prompts and ranking targets.
    """

    def __init__(
        self, checkpoint: str | Path, *, vision: Vision = "frozen", dtype: torch.dtype = torch.float32
    ) -> None:
        if vision not in get_args(Vision):
            raise TrainError(f"vision is {vision!r}: use one of {', '.join(get_args(Vision))}")
        source = Checkpoint.open(str(checkpoint))
        self.checkpoint = source
        self.config = source.config
        self.prompting = Prompting(source)
        processor = source.processor
        self._mean, self._std = (torch.tensor(values).view(3, 1, 1) for values in (processor.mean, processor.std))
        self.module = Qwen3VLForConditionalGeneration.from_pretrained(
            source.path, dtype=dtype, local_files_only=True, attn_implementation="sdpa"
        )
        visual = self.module.model.visual
        self.trains_vision = vision != "frozen"
        visual.requires_grad_(vision == "trained")
        if vision == "merger":
            visual.merger.requires_grad_(True)
            visual.deepstack_merger_list.requires_grad_(True)
        self.module.config.use_cache = False

    @property
    def device(self) -> torch.device:
        """Where the parameters are now."""
        return self.table.weight.device

    @property
    def table(self) -> nn.Embedding:
        """The input embeddings, ``[vocabulary, H]``."""
        return cast(nn.Embedding, self.module.get_input_embeddings())

    def encode(self, pixels: NDArray[np.uint8] | Tensor) -> EncodedPage:
        """The vision tower on one page ``[h, w, 3]`` uint8 whose sides are multiples of patch x merge (32)."""
        return self.encode_all([pixels])[0]

    def encode_all(self, pages: Sequence[NDArray[np.uint8] | Tensor]) -> list[EncodedPage]:
        """The vision tower on several pages at once.

        Raises:
            TrainError: a page is not uint8 ``[h, w, 3]``, or a side is no multiple of patch x merge.
        """
        parts = [self._patches(page) for page in pages]
        grids = [grid for _, grid in parts]
        # explicit, since gradient checkpointing makes inputs require gradients, of a frozen tower too
        with torch.set_grad_enabled(self.trains_vision and torch.is_grad_enabled()):
            output = self.module.model.visual(
                torch.cat([patches for patches, _ in parts]).to(self.module.model.visual.dtype),
                grid_thw=torch.tensor([[1, *grid] for grid in grids], device=self.device),
                return_dict=True,
            )
        counts = [rows * cols // self.config.vision.merge_size**2 for rows, cols in grids]
        tokens = torch.split(output.pooler_output, counts)
        levels = [torch.split(level, counts) for level in output.deepstack_features]
        return [
            EncodedPage(tokens[number], tuple(level[number] for level in levels), grid)
            for number, grid in enumerate(grids)
        ]

    def score(
        self,
        query: str,
        pages: Sequence[EncodedPage],
        keep_ratio: float,
        *,
        target: Sequence[int] | None = None,
    ) -> Scored:
        """One pass: prompt, pruning, decoder, letter logits.

        Which tokens are kept has no gradient; those that are kept do. Positions are those before pruning, and the
        comparison runs in float32 whatever autocast says: bfloat16 cosines tie by the dozen.

        Args:
            query: as the user wrote it; the checkpoint's ``query_case`` is applied.
            pages: 1..20 encoded pages.
            keep_ratio: share of each page's visual tokens that the decoder reads, in (0, 1].
            target: tokens of the ranking that should follow the prompt (`Prompting.target`), for the language loss.

        Raises:
            TrainError: an argument out of range.
        """
        if not 0 < keep_ratio <= 1:
            raise TrainError(f"keep_ratio is {keep_ratio}: must lie in (0, 1]")
        device = self.device
        text_ids = self.prompting.ids(query, len(pages))
        counts = [len(page.tokens) for page in pages]
        prompt, positions = self._layout(text_ids, pages, target or ())
        is_visual = prompt == self.prompting.image_pad  # [S'] bool, before pruning, on the host as are the positions
        keep = [reference.keep_count(count, keep_ratio) for count in counts]
        all_tokens = torch.cat([page.tokens for page in pages])
        kept = self._prune(text_ids, all_tokens, counts, keep)  # [M] int64

        slots = is_visual.nonzero().flatten().to(device)
        keep_sequence = (~is_visual).to(device)
        keep_sequence[slots[kept]] = True
        # lengths are known, so nothing here waits for the device
        length = len(prompt) - sum(counts) + sum(keep)
        order = torch.argsort(keep_sequence.int(), descending=True, stable=True)[:length]  # [S] int64, ascending
        ids = prompt.to(device)[order]
        visual_mask = is_visual.to(device)[order]
        visual = torch.argsort(visual_mask.int(), descending=True, stable=True)[: sum(keep)]

        embeddings = self.table(ids)
        rows = gather_kept(all_tokens, kept).to(embeddings.dtype)
        embeddings = embeddings.index_copy(0, visual, rows)
        levels = [
            gather_kept(torch.cat([page.deepstack[level] for page in pages]), kept)
            for level in range(len(self.config.vision.deepstack))
        ]
        states = self.module.model.language_model(
            inputs_embeds=embeddings[None],
            position_ids=positions.to(device)[:, :, order],
            attention_mask=None,
            visual_pos_masks=visual_mask[None],
            deepstack_visual_embeds=levels,
            use_cache=False,
        ).last_hidden_state[0]  # [S, H]

        goal = torch.tensor(list(target or ()), dtype=torch.int64, device=device)
        fed = max(len(goal) - 1, 0)
        logits = self.module.lm_head(states[length - fed - 1 :]).float()  # the prompt's last token and those after it
        language_loss = F.cross_entropy(logits, goal) if len(goal) else None
        letters = torch.tensor(self.prompting.letters[: len(pages)], device=device)
        return Scored(
            logits=logits[0, letters],
            kept=tuple(part - sum(counts[:number]) for number, part in enumerate(torch.split(kept, keep))),
            language_loss=language_loss,
            text_ids=text_ids,
        )

    def save(self, directory: Path, *, dtype: torch.dtype | None = None) -> None:
        """Write the checkpoint, with the tokenizer, prompt and processor of the one that was loaded.

        ``dtype`` is what the weights are stored in; None leaves them as they are. The model in memory stays as it is.

        Raises:
            TrainError: ``directory`` is the one that was loaded.
        """
        if directory.resolve() == self.checkpoint.path.resolve():
            raise TrainError(f"{directory} is the checkpoint that was loaded: save into another directory")
        state = self.module.state_dict()
        if self.module.config.tie_word_embeddings:
            state.pop("lm_head.weight", None)  # the table again; cast, the two would no longer be seen to be one
        if dtype is not None:
            state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
        self.module.save_pretrained(directory, state_dict=state)
        if dtype is not None:
            _name_dtype(directory / "config.json", str(dtype).removeprefix("torch."))
        for file in sorted(self.checkpoint.path.iterdir()):
            if file.suffix in (".json", ".jinja", ".txt") and not (
                file.name == "config.json" or file.name.endswith(".index.json")
            ):
                shutil.copyfile(file, directory / file.name)

    def _patches(self, page: NDArray[np.uint8] | Tensor) -> tuple[Tensor, tuple[int, int]]:
        """``[rows * cols, values]`` in merge-block order, normalised; a still image fills its temporal patch."""
        vision = self.config.vision
        size, merge = vision.patch_size, vision.merge_size
        image = torch.as_tensor(page)
        unit = size * merge
        if image.dtype != torch.uint8 or image.dim() != 3 or image.shape[2] != 3:
            raise TrainError(f"a page is {image.dtype} {list(image.shape)}: give uint8 [height, width, 3]")
        if image.shape[0] % unit or image.shape[1] % unit or not image.numel():
            raise TrainError(f"a page is {image.shape[1]} x {image.shape[0]} px: sides must be multiples of {unit}")
        mean, std = self._mean.to(self.device), self._std.to(self.device)
        image = (image.to(self.device).permute(2, 0, 1).float() / 255 - mean) / std
        rows, cols = image.shape[1] // size, image.shape[2] // size
        blocks = image.reshape(3, rows // merge, merge, size, cols // merge, merge, size)
        patches = blocks.permute(1, 4, 2, 5, 0, 3, 6).reshape(rows * cols, 3, 1, size * size)
        return patches.expand(-1, -1, vision.temporal_patch_size, -1).reshape(rows * cols, -1), (rows, cols)

    def _layout(
        self, text_ids: Sequence[int], pages: Sequence[EncodedPage], target: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Return ids ``[S']`` and positions ``[3, 1, S']`` of the whole sequence, both on the host.

        The ids hold a pad for every visual token, and the target without its last token.
        """
        ids: list[int] = []
        remaining = iter(pages)
        for token in text_ids:
            ids.extend([token] * (len(next(remaining).tokens) if token == self.prompting.image_pad else 1))
        expanded = torch.tensor([*ids, *target[:-1]])
        positions, _ = self.module.model.get_rope_index(
            expanded[None],
            image_grid_thw=torch.tensor([[1, *page.grid] for page in pages]),
            mm_token_type_ids=(expanded == self.prompting.image_pad).long()[None],
        )
        return expanded, positions

    @torch.no_grad()
    def _prune(self, text_ids: Sequence[int], visual: Tensor, counts: Sequence[int], keep: Sequence[int]) -> Tensor:
        device = visual.device
        markers = {self.config.vision_start_id, self.config.vision_end_id}
        before = text_ids[: text_ids.index(self.prompting.image_pad)]
        compared = torch.tensor([token for token in before if token not in markers], device=device)
        text = self.table(compared)
        offsets, kept = torch.tensor([0, *counts], device=device).cumsum(0), torch.tensor(keep, device=device)
        with torch.autocast(device.type, enabled=False):
            if device.type == "cuda":
                return prune_on_device(visual.float(), text.float(), offsets, kept, total=sum(keep))
            return reference.prune(visual, text, offsets, kept)


def _name_dtype(config: Path, name: str) -> None:
    """Transformers writes the dtype that the model has in memory."""
    content = json.loads(config.read_text(encoding="utf-8"))
    for part in (content, *(value for value in content.values() if isinstance(value, dict))):
        if "dtype" in part:
            part["dtype"] = name
    config.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
