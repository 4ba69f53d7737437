"""The prompt of a bundle and the tokens it needs, read from the checkpoint and checked against its tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from ziprerank.strict_json import Fields
from ziprerank.tokenizer_file import read_tokenizer

from .checkpoint import Checkpoint
from .errors import CheckpointError

LETTERS = "ABCDEFGHIJKLMNOPQRST"
"""Identifiers of the pages of one window, in order. One pass scores at most as many pages as there are letters."""

_TEXT_KEYS = ("prefix", "order_item", "order_separator", "page", "suffix")
QUERY_CASES = ("keep", "lower")


def load_prompt(checkpoint: Checkpoint) -> dict[str, Any]:
    """Reads the checkpoint's own ``prompt.json``, or ZipRerank's prompt if it has none.

    Returns:
        The manifest's ``prompt``.

    Raises:
        CheckpointError: A part is missing or has the wrong type, or a placeholder is missing or misplaced.
    """
    content = checkpoint.optional_json("prompt.json")
    if content is None:
        content = json.loads(resources.files(__package__).joinpath("prompt.json").read_text(encoding="utf-8"))
    prompt = Fields(content, "prompt.json", CheckpointError)
    parts = {key: prompt.text(key) for key in _TEXT_KEYS}
    lines = prompt.texts("lines")
    if sum(line.count("{query}") for line in lines) != 1:
        prompt.refuse("lines", "must hold {query} exactly once")
    if parts["page"].count("{image}") != 1:
        prompt.refuse("page", "must hold {image} exactly once")
    if "{query}" in parts["page"].split("{image}")[0]:
        prompt.refuse("page", "may repeat {query} after {image} only: pruning reads what is before")
    return {**parts, "lines": lines, "query_case": prompt.choice("query_case", QUERY_CASES, "keep")}


def prompt_text(rules: Mapping[str, Any], query: str, pages: int) -> str:
    """Fills the prompt in.

    Args:
        rules: The manifest's ``prompt``.
        query: The query, already in the case that the rules ask for.
        pages: The number of pages, each of which becomes one ``<|image_pad|>``.
    """
    order = rules["order_separator"].join(
        rules["order_item"].replace("{i}", str(number)).replace("{letter}", letter)
        for number, letter in enumerate(LETTERS[:pages], start=1)
    )
    lines = "\n".join(rules["lines"]).replace("{k}", str(pages)).replace("{order}", order)
    page = rules["page"].replace("{image}", "<|image_pad|>")
    # the query goes in last, so that nothing in it is taken for a placeholder
    parts = [rules["prefix"] + lines, *(page.replace("{letter}", letter) for letter in LETTERS[:pages])]
    return "".join(part.replace("{query}", query) for part in parts) + str(rules["suffix"])


def letter_ids(tokenizer_file: Path) -> list[int]:
    """Returns the token id of each letter by itself: the prompt ends in a whole token, and the letter is the next.

    Raises:
        CheckpointError: The tokenizer cannot be read, or a letter is not exactly one token.
    """
    tokenizer = read_tokenizer(tokenizer_file, CheckpointError)
    ids = []
    for letter in LETTERS:
        tokens = tokenizer.encode(letter, add_special_tokens=False).ids
        if len(tokens) != 1:
            raise CheckpointError(f"the letter {letter} is not one token in {tokenizer_file.name} but {tokens}")
        ids.extend(tokens)
    return ids


def check_vision_tokens(checkpoint: Checkpoint) -> None:
    """Checks that the tokenizer's ids of the vision tokens are those of ``config.json``.

    Raises:
        CheckpointError: A token is missing or has another id.
    """
    tokenizer = read_tokenizer(checkpoint.tokenizer_file, CheckpointError)
    config = checkpoint.config
    for text, wanted in (
        ("<|vision_start|>", config.vision_start_id),
        ("<|vision_end|>", config.vision_end_id),
        ("<|image_pad|>", config.image_pad_id),
    ):
        found = tokenizer.token_to_id(text)
        if found != wanted:
            raise CheckpointError(
                f"{checkpoint.tokenizer_file.name} has "
                + (f"{text} as token {found}" if found is not None else f"no token {text}")
                + f", config.json says {wanted}"
            )
