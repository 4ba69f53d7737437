"""Builds the prompt of a window: text to token ids, one image pad a page (the engine expands each to visual tokens)."""

from __future__ import annotations

import string
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from ziprerank.bundle import Bundle
from ziprerank.errors import BundleError, InvalidInput, quoted
from ziprerank.tokenizer_file import parse_tokenizer

MAX_QUERY_TOKENS = 4096
MAX_QUERY_CHARACTERS = 16 * MAX_QUERY_TOKENS  # refused before the tokenizer spends time on it
MAX_TEXT_CHARACTERS = 1 << 20  # of a document, of which some 40,000 are read


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
            max_tokens: Most tokens of a prompt, pages not counted; None is ``prompt_limit(bundle)``, or as
                many as the bundle cuts prompts to, if that is more.

        Raises:
            BundleError: The tokenizer cannot be read or misses the image pad.
        """
        self._rules = bundle.prompt
        self._tokens = bundle.tokens
        self._factor = bundle.image.factor
        self._query_only = bundle.defaults.prune_text == "query_only"
        self._tokenizer = _load_tokenizer(bundle)
        image = self._tokenizer.id_to_token(bundle.tokens.image_pad)
        if image is None:
            raise BundleError(f"{bundle.path}: tokenizer.json has no token {bundle.tokens.image_pad} (image pad)")
        self._page = self._rules.page.replace("{image}", image)
        self._repeats = "{query}" in self._page
        self._suffix_tokens = len(self._encode(self._rules.suffix).ids)
        if max_tokens is None:
            max_tokens = max(prompt_limit(bundle), (self._rules.most_tokens or 0) + self._suffix_tokens)
        self.max_tokens = max_tokens
        self._special = {
            index: token.content for index, token in self._tokenizer.get_added_tokens_decoder().items() if token.special
        }
        self._special_ids = np.fromiter(self._special, dtype=np.int64)

    def check_query(self, query: str) -> str:
        """Returns the query as it goes into the prompt. Raises InvalidInput, stating what is wrong with it."""
        _check_text("query", query, MAX_QUERY_CHARACTERS)
        if not query.strip():
            raise InvalidInput("the query is empty: say what to look for")
        if self._rules.query_case == "lower":
            query = " ".join(query.lower().split())
        self._check_tokens("query", query)
        return query

    def check_instruction(self, instruction: str | None) -> str:
        """Returns the instruction as it goes into the prompt: the prompt's own in place of None and of an empty one.

        Raises:
            InvalidInput: The prompt has no slot for one, or the text cannot be used.
        """
        default = self._rules.instruction
        if instruction is None or instruction == "":
            return default or ""
        if default is None:
            raise InvalidInput(
                f"instruction {quoted(instruction)}: the prompt of this bundle has no place for one: leave it out, or "
                "use a bundle whose prompt has one (ziprerank doctor says so)"
            )
        _check_text("instruction", instruction, MAX_QUERY_CHARACTERS)
        self._check_tokens("instruction", instruction)
        return instruction

    def check_document_text(self, text: str) -> str:
        """Returns the text of a document as it goes into the prompt.

        Raises:
            InvalidInput: The prompt has no slot for one, or the text cannot be used.
        """
        if self._rules.text is None:
            raise InvalidInput(
                "a text for a bundle that reads pages only: its prompt has no place for one, leave it out"
            )
        _check_text("text", text, MAX_TEXT_CHARACTERS)
        for index in self._encode(text).ids:
            if index in self._special:
                self._refuse(self._special[index], "text")
        return text

    def build(self, query: str, pages: int, instruction: str = "", text: str | None = None) -> Prompt:
        """Builds the prompt of ``pages`` pages.

        Args:
            query: What ``check_query`` returned.
            pages: How many pages there are.
            instruction: What ``check_instruction`` returned.
            text: What ``check_document_text`` returned; None for a document without text.

        Raises:
            InvalidInput: A control token of the model forms at the edge of one of them.
        """
        whole, spans = self._text(query, pages, instruction, text)
        encoding = self._encode(whole)
        ids = np.asarray(encoding.ids, dtype=np.int64)
        if self._rules.most_tokens is None:  # else ``fit`` cuts it first
            self._check_length(len(ids) - pages, pages)
        self._check_special(ids, pages, text is not None)
        if not self._query_only:
            return Prompt(ids, None)
        mask = np.fromiter(
            (any(first < end and last > start for start, end in spans) for first, last in encoding.offsets),
            dtype=np.bool_,
            count=len(ids),
        )
        return Prompt(ids, mask)

    def query_tokens(self, query: str) -> NDArray[np.int64]:
        """Returns the ids of the query's own tokens as they stand before the first page, int64 [n].

        Args:
            query: What ``check_query`` returned.
        """
        whole, spans = self._text(query, 1, "", None)
        start, end = spans[0]
        encoding = self._encode(whole)
        own = [
            index
            for index, (first, last) in zip(encoding.ids, encoding.offsets, strict=True)
            if first < end and last > start
        ]
        return np.asarray(own, dtype=np.int64)

    def check_length(self, query: str, pages: int, instruction: str = "") -> None:
        """Checks the length of the prompt of ``pages`` pages, texts of documents left aside.

        Args:
            query: What ``check_query`` returned.
            pages: How many pages there are.
            instruction: What ``check_instruction`` returned.

        Raises:
            InvalidInput: The prompt is longer than ``max_tokens``.
        """
        text, _ = self._text(query, pages, instruction, None)
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

    @property
    def pointwise(self) -> bool:
        """Whether a prompt has one document, which is scored by itself."""
        return self._rules.pointwise

    @property
    def most_tokens(self) -> int | None:
        """Most tokens of a prompt, the suffix left aside; None: the bundle has no limit."""
        return self._rules.most_tokens

    def visual_tokens(self, size: tuple[int, int]) -> int:
        """Returns the visual tokens of a page of ``size``, (height, width) in px."""
        return size[0] * size[1] // self._factor**2

    def fit(self, prompt: Prompt, visual_tokens: int) -> tuple[Prompt, int]:
        """Cuts a prompt to the most tokens that the bundle allows, as the model's own code does.

        The suffix and all special tokens are spared, visual tokens among them; the first of the others are kept.

        Args:
            prompt: A prompt of one document that ``build`` returned.
            visual_tokens: Tokens that its image pads stand for.

        Returns:
            The prompt, and how many of its tokens were left out.

        Raises:
            InvalidInput: The prompt is still longer than ``max_tokens``.
        """
        most = self._rules.most_tokens
        if most is None:
            return prompt, 0
        ids, mask = prompt.text_ids, prompt.query_mask
        end = len(ids) - self._suffix_tokens
        special = np.isin(ids[:end], self._special_ids)
        pads = int((ids == self._tokens.image_pad).sum())
        spared = int(special.sum()) - pads + visual_tokens
        keep = np.ones(len(ids), dtype=np.bool_)
        if spared + int((~special).sum()) > most:
            keep[:end] = special | (np.cumsum(~special) <= max(0, most - spared))
        left = int(keep.sum())
        self._check_length(left - pads, pads)
        if left == len(ids):
            return prompt, 0
        return Prompt(ids[keep], None if mask is None else mask[keep]), len(ids) - left

    def _text(self, query: str, pages: int, instruction: str, text: str | None) -> tuple[str, list[tuple[int, int]]]:
        """The whole prompt, and the character spans of the query before the first page, which pruning compares with."""
        rules = self._rules
        order = rules.order_separator.join(
            rules.order_item.replace("{i}", str(number)).replace("{letter}", letter)
            for number, letter in enumerate(string.ascii_uppercase[:pages], start=1)
        )
        lines = "\n".join(rules.lines).replace("{k}", str(pages)).replace("{order}", order)
        pieces = [piece.replace("{instruction}", instruction) for piece in lines.split("{query}")]
        whole, spans = rules.system + rules.prefix + pieces[0], []
        for piece in pieces[1:]:
            spans.append((len(whole), len(whole) + len(query)))
            whole += query + piece
        for letter in string.ascii_uppercase[:pages]:
            whole += self._page.replace("{letter}", letter).replace("{query}", query)
        if text is not None:
            whole += (rules.text or "{text}").replace("{text}", text)
        return whole + rules.suffix, spans

    def _encode(self, text: str) -> Encoding:
        return self._tokenizer.encode(text, add_special_tokens=False)

    def _check_tokens(self, what: str, text: str) -> None:
        ids = self._encode(text).ids
        for index in ids:
            if index in self._special:
                self._refuse(self._special[index], what)
        if len(ids) > MAX_QUERY_TOKENS:
            raise InvalidInput(f"{what} of {len(ids):,} tokens, at most {MAX_QUERY_TOKENS:,}: shorten or summarise it")

    def _check_special(self, ids: NDArray[np.int64], pages: int, with_text: bool) -> None:
        """The query may add no special token, not even one that only forms together with the text around it."""
        plain, _ = self._text("x", pages, "x", "x" if with_text else None)
        expected = [index for index in self._encode(plain).ids if index in self._special]
        found = [index for index in ids.tolist() if index in self._special]
        if found != expected:
            extra = next((index for index in found if found.count(index) > expected.count(index)), found[0])
            self._refuse(self._special[extra])
        if found.count(self._tokens.image_pad) != pages:
            raise BundleError(
                f"the prompt for {pages} pages holds {found.count(self._tokens.image_pad)} image pads: export it again"
            )

    def _refuse(self, token: str, what: str = "query") -> None:
        raise InvalidInput(f"the {what} holds {token!r}, a control token of the model: remove it")


def _check_text(what: str, text: object, most: int) -> None:
    if not isinstance(text, str):
        raise InvalidInput(f"the {what} must be a string, not {type(text).__name__}")
    if len(text) > most:
        raise InvalidInput(f"{what} of {len(text):,} characters, at most {most:,}: shorten or summarise it")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInput(f"the {what} is not valid text: {error}") from error


def _load_tokenizer(bundle: Bundle) -> Tokenizer:
    tokenizer = parse_tokenizer(bundle.read("tokenizer.json"), bundle.path / "tokenizer.json", BundleError)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
