"""The stage that builds a decoder that compares (`maxsim`) on a checkpoint whose tower reads. It trains nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from ziprerank.export.checkpoint import Checkpoint
from ziprerank.export.options import check_page_size
from ziprerank.export.prompt import letter_ids
from ziprerank.train.data.page_store import PageStore
from ziprerank.train.errors import TrainError
from ziprerank.train.model.ranker import Ranker
from ziprerank.train.model.tower import Tower

from . import maxsim
from .features import text_tokens

_TABLE = "model.language_model.embed_tokens.weight"
_TOWER_END = "model.visual.merger.linear_fc2."
_MARKED = {
    "<|im_start|>": maxsim.FIRST,
    "<|im_end|>": maxsim.END,
    "<|vision_start|>": maxsim.VISUAL,
    "<|vision_end|>": maxsim.VISUAL,
    "[": maxsim.LAST,
}
_PROMPT = {
    "comment": "Every page knows its letter; the query after it looks for its matches on that page.",
    "prefix": "<|im_start|>",
    "lines": [" {query}"],
    "order_item": "",
    "order_separator": "",
    "page": "{letter}<|vision_start|>{image}<|vision_end|>{letter} {query}<|im_end|>",
    "suffix": "[",
    "query_case": "lower",
    "window": 20,
    "stride": 10,
    "blank": "drop",  # no token finds anything there
}


@dataclass(frozen=True, kw_only=True)
class ConstructStage:
    """Settings of the stage. It trains nothing.

    Attributes:
        store: pages with their text: how often a token occurs, and what visual tokens of text look like.
        pages: of the store that the tower reads for that, spread evenly.
        longest_side, dpi: of pages as the tower has learnt to read them, in pixels and dots per inch, for the
            checkpoint's ``prompt.json``; None keeps what it says.
    """

    store: Path
    pages: int = 48
    longest_side: int | None = None
    dpi: float | None = None

    def __post_init__(self) -> None:
        if self.pages < 1:
            raise TrainError(f"pages is {self.pages}: must be at least 1")
        check_page_size(self.longest_side, self.dpi)

    def build(self, checkpoint: str, directory: Path) -> None:
        """Write the checkpoint with its new decoder.

        Raises:
            TrainError: no page has text, or see `construct`.
        """
        store = PageStore(self.store)
        ranker = Ranker(checkpoint)
        source, vocabulary = ranker.checkpoint.path, ranker.config.decoder.vocab_size
        counts = np.bincount(store.token_ids, minlength=vocabulary)
        if len(counts) > vocabulary:
            raise TrainError(f"{self.store} has token {len(counts) - 1}, the model knows {vocabulary}: store it anew")
        chosen = np.unique(np.linspace(0, len(store) - 1, self.pages).astype(int))
        visual = text_tokens(Tower.of(ranker), [store[int(page)] for page in chosen])
        sizes = {"longest_side": self.longest_side, "dpi": self.dpi}
        construct(source, directory, counts, visual, {name: size for name, size in sizes.items() if size is not None})


def construct(
    source: Path,
    directory: Path,
    counts: NDArray[np.int64],
    visual: Tensor,
    sizes: Mapping[str, float] | None = None,
) -> None:
    """Write ``source`` with the decoder of `maxsim`; its tower and table are turned into that decoder's basis.

    Args:
        source: a checkpoint of one file.
        directory: must not exist, or be empty.
        counts: ``[vocabulary]``: how often each token occurs in pages.
        visual: ``[n, H]``: visual tokens of cells with text, a sample.
        sizes: ``longest_side`` and ``dpi`` of pages, if they differ from those of ``source``.

    Raises:
        TrainError: several files, another width than `maxsim.WIDTH`, untied embeddings, a token that the prompt needs
            is unknown, or DeepStack adds something, which a constructed decoder cannot read.
    """
    checkpoint = Checkpoint.open(str(source))
    if not (source / "model.safetensors").is_file():
        raise TrainError(f"{source} has no model.safetensors: a decoder is constructed on a checkpoint of one file")
    state = {name: tensor.float() for name, tensor in load_file(source / "model.safetensors").items()}
    _check(checkpoint, state)
    tokenizer = Tokenizer.from_file(str(checkpoint.tokenizer_file))
    marked: dict[int, int | None] = dict.fromkeys(tokenizer.get_added_tokens_decoder())
    for token, mark in _MARKED.items():
        index = tokenizer.token_to_id(token)
        if index is None:
            raise TrainError(f"{checkpoint.tokenizer_file} has no token {token}: the constructed prompt needs it")
        marked[index] = mark

    basis = maxsim.basis(state[_TABLE], visual)
    end = maxsim.tower_end(state[f"{_TOWER_END}weight"], state[f"{_TOWER_END}bias"], basis)
    table = maxsim.embeddings(state[_TABLE], basis, counts, marked, letter_ids(checkpoint.tokenizer_file))
    tower = {name: tensor for name, tensor in state.items() if "visual" in name and "deepstack" not in name}
    tower |= {f"{_TOWER_END}weight": end[0], f"{_TOWER_END}bias": end[1], _TABLE: table}

    directory.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.glob("*.json")):
        shutil.copyfile(file, directory / file.name)
    _rewrite_config(directory / "config.json")
    prompt = checkpoint.optional_json("prompt.json") or {}
    (directory / "prompt.json").write_text(
        json.dumps({**prompt, **_PROMPT, **(sizes or {})}, indent=1) + "\n", encoding="utf-8"
    )
    state = tower | maxsim.layers(checkpoint.config.decoder.intermediate_size)
    save_file(
        {name: tensor.contiguous() for name, tensor in state.items()},
        str(directory / "model.safetensors"),
        metadata={"format": "pt"},
    )


def _check(checkpoint: Checkpoint, state: dict[str, Tensor]) -> None:
    decoder = checkpoint.config.decoder
    if decoder.hidden_size != maxsim.WIDTH or not decoder.tied:
        raise TrainError(
            f"{checkpoint.path}: width {decoder.hidden_size}, {'tied' if decoder.tied else 'untied'} embeddings; a "
            f"decoder is constructed for width {maxsim.WIDTH} and tied ones"
        )
    for name, tensor in state.items():
        if "deepstack" in name and "linear_fc2" in name and bool(tensor.any()):
            raise TrainError(f"{checkpoint.path}: {name} is not zero; a constructed decoder reads visual tokens only")


def _rewrite_config(file: Path) -> None:
    config = json.loads(file.read_text(encoding="utf-8"))
    text = config["text_config"]
    text.update(num_hidden_layers=maxsim.LAYERS, num_attention_heads=1, num_key_value_heads=1, head_dim=maxsim.WIDTH)
    text["rope_parameters"].update(rope_theta=maxsim.THETA, mrope_section=list(maxsim.SECTIONS))
    config["vision_config"]["deepstack_visual_indexes"] = []
    for part in (config, *(part for part in config.values() if isinstance(part, dict))):
        if "dtype" in part:
            part["dtype"] = "float32"
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
