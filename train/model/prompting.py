"""The prompt of a training example and the ranking that follows it, as tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from ziprerank.export.checkpoint import Checkpoint
from ziprerank.export.prompt import LETTERS, check_vision_tokens, letter_ids, load_prompt, prompt_text
from ziprerank.train.errors import TrainError

MOST_PAGES = len(LETTERS)


class Prompting:
    """Token ids by a checkpoint's prompt and tokenizer, as the engine builds them. Safe to use from several threads."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Reads the prompt and the tokenizer.

        Raises:
            CheckpointError: They are not what they must be.
            TrainError: The prompt is not scored by letters.
        """
        check_vision_tokens(checkpoint)
        self.rules: Mapping[str, Any] = load_prompt(checkpoint)
        if "scoring" in self.rules:
            raise TrainError(
                f"{checkpoint.path}: its prompt is scored by {self.rules['scoring']}, training is by letters: give the "
                "checkpoint a prompt.json whose scoring is letters"
            )
        self.letters = letter_ids(checkpoint.tokenizer_file)
        self.image_pad = checkpoint.config.image_pad_id
        self._tokenizer = _load(checkpoint.tokenizer_file)
        self._end: int | None = self._tokenizer.token_to_id("<|im_end|>")
        self._special = {index for index, token in self._tokenizer.get_added_tokens_decoder().items() if token.special}

    def ids(self, query: str, pages: int) -> list[int]:
        """The prompt for ``pages`` pages, with one image pad for each.

        Raises:
            TrainError: not 1..20 pages, an empty query, or one that holds a special token.
        """
        if not 1 <= pages <= MOST_PAGES:
            raise TrainError(f"{pages} pages in one pass: use 1..{MOST_PAGES}")
        query = self.query(query)
        if not query.strip():
            raise TrainError("the query is empty: drop the example")
        ids = self._encode(prompt_text(self.rules, query, pages))
        if [index for index in ids if index in self._special] != [
            index for index in self._encode(prompt_text(self.rules, "x", pages)) if index in self._special
        ]:
            raise TrainError(f"the query {query[:80]!r} holds a special token: remove it, or drop the example")
        return ids

    def query(self, query: str) -> str:
        """The query as the prompt holds it, by the checkpoint's ``query_case``."""
        return " ".join(query.lower().split()) if self.rules["query_case"] == "lower" else query

    def query_ids(self, query: str) -> list[int]:
        """Tokens of the query alone, as it reads in the middle of a line."""
        return self._encode(" " + self.query(query))

    def target(self, order: Sequence[int]) -> list[int]:
        """Return what follows the prompt's ``[`` when the pages rank in ``order``, best first.

        That is ``B] > [A]`` and the like, then the tokenizer's ``<|im_end|>`` where it has one.

        Raises:
            TrainError: the order is empty, names a page twice or one beyond `MOST_PAGES`, or the tokenizer merges a
                letter with what follows: then a score could not be read off that letter.
        """
        if not order or len(set(order)) != len(order) or not all(0 <= page < MOST_PAGES for page in order):
            raise TrainError(f"the order is {list(order)}: name pages 0..{MOST_PAGES - 1}, each at most once")
        ids = self._encode("] > [".join(LETTERS[page] for page in order) + "]")
        if ids[0] != self.letters[order[0]]:
            raise TrainError(
                f"the tokenizer reads {LETTERS[order[0]]}] as tokens {ids[:2]}: the letter must be its own"
            )
        return ids if self._end is None else [*ids, self._end]

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def _load(path: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
