"""The prompt of a bundle and the tokens it needs, read from its file and checked against the checkpoint's tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ziprerank.strict_json import Fields
from ziprerank.tokenizer_file import read_tokenizer

from .checkpoint import Checkpoint
from .errors import CheckpointError
from .prompt_file import find_prompt

LETTERS = "ABCDEFGHIJKLMNOPQRST"
"""Identifiers of the pages of one window, in order. One pass scores at most as many pages as there are letters."""

QUERY_CASES = ("keep", "lower")
SCORINGS = ("letters", "yes_no")
_MOST_TOKENS = 1 << 20


@dataclass(frozen=True, slots=True)
class Answers:
    """The tokens whose logits are the scores.

    Attributes:
        letters: The token of each page's letter; empty for yes and no.
        yes: The token whose logit, less that of ``no``, is the score of the one page; None for letters.
        no: See ``yes``.
    """

    letters: tuple[int, ...] = ()
    yes: int | None = None
    no: int | None = None

    @property
    def most_pages(self) -> int:
        """Pages that one pass scores at most."""
        return len(self.letters) or 1

    def manifest(self) -> dict[str, Any]:
        """Returns the part of the manifest's ``tokens`` that they are."""
        return {"letters": list(self.letters)} if self.letters else {"yes": self.yes, "no": self.no}


def load_prompt(checkpoint: Checkpoint) -> dict[str, Any]:
    """Returns the manifest's ``prompt`` of a checkpoint that nothing else was asked for. Raises as `parse_prompt`."""
    return parse_prompt(find_prompt(checkpoint).fields)


def parse_prompt(prompt: Fields) -> dict[str, Any]:
    """Reads the content of a prompt's file.

    Returns:
        The manifest's ``prompt``.

    Raises:
        CheckpointError: A part is missing or has the wrong type, or a placeholder is missing or misplaced.
    """
    scoring = prompt.choice("scoring", SCORINGS, "letters")
    of_pages = {key: prompt.text(key) for key in ("order_item", "order_separator")} if scoring == "letters" else {}
    parts = {key: prompt.text(key) for key in ("prefix", "page", "suffix")}
    lines = prompt.texts("lines")
    if sum(line.count("{query}") for line in lines) != 1:
        prompt.refuse("lines", "must hold {query} exactly once")
    if parts["page"].count("{image}") != 1:
        prompt.refuse("page", "must hold {image} exactly once")
    if "{query}" in parts["page"].split("{image}")[0]:
        prompt.refuse("page", "may repeat {query} after {image} only: pruning reads what is before")
    rules: dict[str, Any] = {
        **parts,
        **of_pages,
        "lines": lines,
        "query_case": prompt.choice("query_case", QUERY_CASES, "keep"),
    }
    if "system" in prompt:
        rules["system"] = prompt.text("system")
    if any("{instruction}" in line for line in lines) != ("instruction" in prompt):
        prompt.refuse("instruction", "is the default of {instruction} in lines: give both or neither")
    if "instruction" in prompt:
        rules["instruction"] = prompt.text("instruction")
    if scoring == "letters":
        for key in ("text", "yes", "no", "most_tokens"):
            if key in prompt:
                prompt.refuse(key, "is for a prompt whose scoring is yes_no")
        return rules
    rules["scoring"] = scoring
    if "text" in prompt:
        rules["text"] = prompt.text("text")
        if rules["text"].count("{text}") != 1:
            prompt.refuse("text", "must hold {text} exactly once")
    rules["most_tokens"] = prompt.whole("most_tokens", 1, _MOST_TOKENS)
    return rules


def prompt_text(
    rules: Mapping[str, Any], query: str, pages: int, *, instruction: str | None = None, text: str | None = None
) -> str:
    """Fills the prompt in.

    Args:
        rules: The manifest's ``prompt``.
        query: The query, already in the case that the rules ask for.
        pages: The number of pages, each of which becomes one ``<|image_pad|>``.
        instruction: The instruction; None or empty is the rules' default.
        text: The text of the document, where the rules have a slot for it.
    """
    order = rules.get("order_separator", "").join(
        rules.get("order_item", "").replace("{i}", str(number)).replace("{letter}", letter)
        for number, letter in enumerate(LETTERS[:pages], start=1)
    )
    lines = "\n".join(rules["lines"]).replace("{k}", str(pages)).replace("{order}", order)
    page = rules["page"].replace("{image}", "<|image_pad|>")
    # what comes from outside goes in last, so that nothing in it is taken for a placeholder
    parts = [rules["prefix"] + lines, *(page.replace("{letter}", letter) for letter in LETTERS[:pages])]
    asked = instruction or rules.get("instruction", "")
    filled = "".join(
        query.join(piece.replace("{instruction}", asked) for piece in part.split("{query}")) for part in parts
    )
    behind = "" if text is None else rules["text"].replace("{text}", text)
    return str(rules.get("system", "")) + filled + behind + str(rules["suffix"])


def answer_ids(prompt: Fields, tokenizer_file: Path) -> Answers:
    """Returns the tokens that are scored: those of the letters, or of the prompt's words for yes and no.

    Raises:
        CheckpointError: The tokenizer cannot be read, or an answer is not exactly one token.
    """
    if prompt.choice("scoring", SCORINGS, "letters") == "letters":
        return Answers(letters=tuple(letter_ids(tokenizer_file)))
    words = [prompt.text("yes", "yes", most=256), prompt.text("no", "no", most=256)]
    yes, no = _single_tokens(words, tokenizer_file, "the answer")
    if yes == no:
        prompt.refuse("no", "is the same token as yes")
    return Answers(yes=yes, no=no)


def letter_ids(tokenizer_file: Path) -> list[int]:
    """Returns the token id of each letter by itself: the prompt ends in a whole token, and the letter is the next.

    Raises:
        CheckpointError: The tokenizer cannot be read, or a letter is not exactly one token.
    """
    return _single_tokens(LETTERS, tokenizer_file, "the letter")


def _single_tokens(texts: str | list[str], tokenizer_file: Path, what: str) -> list[int]:
    tokenizer = read_tokenizer(tokenizer_file, CheckpointError)
    ids = []
    for text in texts:
        tokens = tokenizer.encode(text, add_special_tokens=False).ids
        if len(tokens) != 1:
            raise CheckpointError(f"{what} {text} is not one token in {tokenizer_file.name} but {tokens}")
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
