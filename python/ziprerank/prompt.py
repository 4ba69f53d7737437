"""Builds the prompt of a window: text to token ids, one image pad a page (the engine expands each to visual tokens)."""

from __future__ import annotations

import string
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from ziprerank.bundle import Bundle
from ziprerank.errors import BundleError, InvalidInput
from ziprerank.tokenizer_file import parse_tokenizer

MAX_QUERY_TOKENS = 4096
_MAX_QUERY_CHARACTERS = 16 * MAX_QUERY_TOKENS  # refused before the tokenizer spends time on it


def prompt_limit(bundle: Bundle) -> int:
    """Returns the most text tokens of a prompt where no option says otherwise, at least ``MAX_QUERY_TOKENS``.

    It is the visual tokens of the bundle's window of pages of the largest size, at its keep ratio: text makes a pass at
    most twice as long as its pages can make it.
    """
    image, defaults = bundle.image, bundle.defaults
    area = image.factor * image.factor
    page = min(image.max_pixels, image.longest_side * image.longest_side) // area
    return max(MAX_QUERY_TOKENS, int(defaults.window * page * defaults.keep_ratio))


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """The token ids of one window.

    Attributes:
        text_ids: [T'] int64 with one image pad a page.
        query_mask: [T'] bool, the tokens that pruning compares with; None is all text before the first page, which the
            engine marks by itself.
    """

    text_ids: NDArray[np.int64]
    query_mask: NDArray[np.bool_] | None


class PromptBuilder:
    """Builds prompts by a bundle's rules and tokenizer. Safe to use from several threads.

    Attributes:
        max_tokens: Most tokens of a prompt, pages not counted.
    """

    def __init__(self, bundle: Bundle, max_tokens: int | None = None) -> None:
        """Reads the bundle's tokenizer.

        Args:
            bundle: Whose prompts these are.
            max_tokens: Most tokens of a prompt, pages not counted; None is ``prompt_limit(bundle)``.

        Raises:
            BundleError: The tokenizer cannot be read or misses the image pad.
        """
        self.max_tokens = prompt_limit(bundle) if max_tokens is None else max_tokens
        self._rules = bundle.prompt
        self._tokens = bundle.tokens
        self._query_only = bundle.defaults.prune_text == "query_only"
        self._tokenizer = _load_tokenizer(bundle)
        image = self._tokenizer.id_to_token(bundle.tokens.image_pad)
        if image is None:
            raise BundleError(f"{bundle.path}: tokenizer.json has no token {bundle.tokens.image_pad} (image pad)")
        self._page = self._rules.page.replace("{image}", image)
        self._repeats = "{query}" in self._page
        self._special = {
            index: token.content for index, token in self._tokenizer.get_added_tokens_decoder().items() if token.special
        }

    def check_query(self, query: str) -> str:
        """Returns the query as it goes into the prompt. Raises InvalidInput, stating what is wrong with it."""
        if not isinstance(query, str):
            raise InvalidInput(f"the query must be a string, not {type(query).__name__}")
        if not query.strip():
            raise InvalidInput("the query is empty: say what to look for")
        if len(query) > _MAX_QUERY_CHARACTERS:
            raise InvalidInput(
                f"query of {len(query):,} characters, at most {_MAX_QUERY_CHARACTERS:,}: shorten or summarise it"
            )
        try:
            query.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidInput(f"the query is not valid text: {error}") from error
        if self._rules.query_case == "lower":
            query = " ".join(query.lower().split())
        ids = self._encode(query).ids
        for index in ids:
            if index in self._special:
                self._refuse(self._special[index])
        if len(ids) > MAX_QUERY_TOKENS:
            raise InvalidInput(f"query of {len(ids):,} tokens, at most {MAX_QUERY_TOKENS:,}: shorten or summarise it")
        return query

    def build(self, query: str, pages: int) -> Prompt:
        """Builds the prompt of ``pages`` pages for a query that ``check_query`` returned. Raises InvalidInput."""
        text, spans = self._text(query, pages)
        encoding = self._encode(text)
        ids = np.asarray(encoding.ids, dtype=np.int64)
        self._check_length(len(ids) - pages, pages)
        self._check_special(ids, pages)
        if not self._query_only:
            return Prompt(ids, None)
        mask = np.fromiter(
            (any(first < end and last > start for start, end in spans) for first, last in encoding.offsets),
            dtype=np.bool_,
            count=len(ids),
        )
        return Prompt(ids, mask)

    def check_length(self, query: str, pages: int) -> None:
        """Checks the length of the prompt of ``pages`` pages for a query that ``check_query`` returned.

        Raises:
            InvalidInput: The prompt is longer than ``max_tokens``.
        """
        text, _ = self._text(query, pages)
        if len(text.encode()) > self.max_tokens:  # no token is shorter than a byte
            self._check_length(len(self._encode(text).ids) - pages, pages)

    def _check_length(self, tokens: int, pages: int) -> None:
        if tokens <= self.max_tokens:
            return
        fewer = ", rank fewer pages in a pass (window)" if pages > 1 and self._repeats else ""
        raise InvalidInput(
            f"the query makes a prompt of {tokens:,} tokens for {pages} {'page' if pages == 1 else 'pages'} in a pass, "
            f"at most {self.max_tokens:,}: shorten or summarise it{fewer}, or load the engine with a higher "
            "max_prompt_tokens"
        )

    def _text(self, query: str, pages: int) -> tuple[str, list[tuple[int, int]]]:
        """The whole prompt, and the character spans of the query before the first page, which pruning compares with."""
        rules = self._rules
        order = rules.order_separator.join(
            rules.order_item.replace("{i}", str(number)).replace("{letter}", letter)
            for number, letter in enumerate(string.ascii_uppercase[:pages], start=1)
        )
        pieces = "\n".join(rules.lines).replace("{k}", str(pages)).replace("{order}", order).split("{query}")
        text, spans = rules.prefix + pieces[0], []
        for piece in pieces[1:]:
            spans.append((len(text), len(text) + len(query)))
            text += query + piece
        for letter in string.ascii_uppercase[:pages]:
            text += self._page.replace("{letter}", letter).replace("{query}", query)
        return text + rules.suffix, spans

    def _encode(self, text: str) -> Encoding:
        return self._tokenizer.encode(text, add_special_tokens=False)

    def _check_special(self, ids: NDArray[np.int64], pages: int) -> None:
        """The query may add no special token, not even one that only forms together with the text around it."""
        plain, _ = self._text("x", pages)
        expected = [index for index in self._encode(plain).ids if index in self._special]
        found = [index for index in ids.tolist() if index in self._special]
        if found != expected:
            extra = next((index for index in found if found.count(index) > expected.count(index)), found[0])
            self._refuse(self._special[extra])
        if found.count(self._tokens.image_pad) != pages:
            raise BundleError(
                f"the prompt for {pages} pages holds {found.count(self._tokens.image_pad)} image pads: export it again"
            )

    def _refuse(self, token: str) -> None:
        raise InvalidInput(f"the query holds {token!r}, a control token of the model: remove it")


def _load_tokenizer(bundle: Bundle) -> Tokenizer:
    tokenizer = parse_tokenizer(bundle.read("tokenizer.json"), bundle.path / "tokenizer.json", BundleError)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
