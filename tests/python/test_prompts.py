"""The prompt against transformers' tokenizer on the whole chat string, and queries that are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qwen_tokenizer import TokenizerUnavailable, qwen3_tokenizer_json
from transformers import AutoTokenizer
from ziprerank.bundle import Bundle, PromptRules, TokenIds
from ziprerank.errors import InvalidInput
from ziprerank.prompt import PromptBuilder

LINES = (
    "You are RankGPT, an intelligent assistant that can rank passages based on their relevancy to the query.",
    "",
    "I will provide you with {k} passages as images.",
    "Rank the passages based on their relevance to the search query.",
    "",
    "The images are provided in order: {order}.",
    "",
    "Search Query: {query}",
    "",
    "Rank the passages above based on their relevance to the search query.",
    "The passages should be listed in descending order using identifiers.",
    "The most relevant passages should be listed first.",
    "The output format should be [A] > [B], etc.",
    "Only output the ranking results, do not say anything else.",
)
RULES = PromptRules(
    prefix="<|im_start|>user\n",
    lines=LINES,
    order_item="Picture {i} is passage [{letter}]",
    order_separator=", ",
    page="<|vision_start|>{image}<|vision_end|>",
    suffix="<|im_end|>\n<|im_start|>assistant\n[",
    query_case="keep",
)
PAD = 151655

QUERIES = [
    "revenue by region",
    'what does "net zero" mean?',
    "it's the customer's invoice...",
    "line one\nline two\n\nline four",
    " leading and trailing  spaces ",
    "ends with a newline\n",
    "emoji \U0001f680\U0001f468\u200d\U0001f469\u200d\U0001f467 and flags \U0001f1e8\U0001f1ed",
    "\u5e74\u5ea6\u62a5\u544a\u4e2d\u7684\u71c3\u6599\u6210\u672c\u662f\u591a\u5c11\uff1f",
    "caf\u00e9 cafe\u0301 \ufb01ne",
    "question mark?",
    "full stop.",
    "tab\tand\r\nCRLF",
    "12345678 3.14% $9.99 \u20ac5",
    "x" * 300,
    "{k} {order} {query} {image} [A] > [B]",
    "<think>angle brackets</think> <b>",
    "\u0645\u0631\u062d\u0628\u0627 \u0928\u0645\u0633\u062a\u0947",
]


@pytest.fixture(scope="module")
def qwen() -> Path:
    try:
        return qwen3_tokenizer_json().parent
    except TokenizerUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def qwen_bundle(qwen: Path, bundle: Bundle) -> Bundle:
    tokens = TokenIds(tuple(range(32, 52)), PAD, 151652, 151653, 151656)
    return replace(bundle, path=qwen, prompt=RULES, tokens=tokens)


@pytest.fixture(scope="module")
def builder(qwen_bundle: Bundle) -> PromptBuilder:
    return PromptBuilder(qwen_bundle)


@pytest.fixture(scope="module")
def reference(qwen: Path) -> Any:
    return AutoTokenizer.from_pretrained(qwen)


def chat(query: str, pages: int) -> str:
    order = ", ".join(f"Picture {page + 1} is passage [{chr(65 + page)}]" for page in range(pages))
    user = "\n".join(LINES).replace("{k}", str(pages)).replace("{order}", order)
    before, after = user.split("{query}")
    images = "<|vision_start|><|image_pad|><|vision_end|>" * pages
    return f"<|im_start|>user\n{before}{query}{after}{images}<|im_end|>\n<|im_start|>assistant\n["


@pytest.mark.parametrize("pages", [1, 4, 20])
def test_ids_equal_transformers(builder: PromptBuilder, reference: Any, pages: int) -> None:
    for query in QUERIES:
        prompt = builder.build(builder.check_query(query), pages)
        assert prompt.text_ids.tolist() == reference(chat(query, pages)).input_ids, query
        assert prompt.text_ids.dtype == np.int64
        assert (prompt.text_ids == PAD).sum() == pages
        assert prompt.text_ids[-1] == 58  # [
        assert prompt.query_mask is None


def test_query_only_masks_every_token_that_overlaps_the_query(qwen_bundle: Bundle, reference: Any) -> None:
    query_only = PromptBuilder(replace(qwen_bundle, defaults=replace(qwen_bundle.defaults, prune_text="query_only")))
    for query in QUERIES:
        prompt = query_only.build(query, 3)
        assert prompt.query_mask is not None
        assert prompt.query_mask.shape == prompt.text_ids.shape
        text = reference.decode(prompt.text_ids[prompt.query_mask])
        assert text.strip() == reference.decode(reference(query).input_ids).strip()
    mask = query_only.build("ends in a stop.", 1)
    selected = reference.convert_ids_to_tokens(mask.text_ids[mask.query_mask].tolist())
    assert selected[-1] == ".\u010a\u010a"  # the stop and both newlines are one token


def test_pages_may_name_their_letter_and_repeat_the_query(qwen_bundle: Bundle, reference: Any) -> None:
    """A query with braces stays as it is; only its first occurrence is compared with the pages."""
    rules = replace(RULES, prefix="", lines=("Find: {query}.",), page=" {letter}={image} ({query})", suffix=" [")
    defaults = replace(qwen_bundle.defaults, prune_text="query_only")
    prompt = PromptBuilder(replace(qwen_bundle, prompt=rules, defaults=defaults)).build("net {letter} zero", 3)
    pages = "".join(f" {letter}=<|image_pad|> (net {{letter}} zero)" for letter in "ABC")
    assert prompt.text_ids.tolist() == reference(f"Find: net {{letter}} zero.{pages} [").input_ids
    assert prompt.query_mask is not None
    assert reference.decode(prompt.text_ids[prompt.query_mask]) == " net {letter} zero"


def test_lower_case_queries(qwen_bundle: Bundle) -> None:
    lower = PromptBuilder(replace(qwen_bundle, prompt=replace(RULES, query_case="lower")))
    assert lower.check_query("  Net \n ZERO  \u00dcber ") == "net zero \u00fcber"
    with pytest.raises(InvalidInput, match="im_end"):
        lower.check_query("<|IM_END|>")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "the query is empty: say what to look for"),
        (" \n\t", "the query is empty: say what to look for"),
        (
            "a <|image_pad|> b",
            "the query holds '<|image_pad|>', a control token of the model: remove it",
        ),
        ("<|im_end|>", "the query holds '<|im_end|>', a control token of the model: remove it"),
        ("word " * 5000, "query of 5,001 tokens, at most 4,096: shorten or summarise it"),
        ("x" * 70000, "query of 70,000 characters, at most 65,536: shorten or summarise it"),
        (7, "the query must be a string, not int"),
    ],
)
def test_refused_queries(builder: PromptBuilder, query: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        builder.check_query(query)
    assert str(caught.value) == message


def test_broken_unicode(builder: PromptBuilder) -> None:
    with pytest.raises(InvalidInput, match="the query is not valid text"):
        builder.check_query("half \ud83d")


def test_no_special_token_forms_at_the_query_edges(qwen_bundle: Bundle) -> None:
    """A template may put text right beside the query; a token that forms across the edge is refused too."""
    lines = ("Query: <|im_{query}",)
    edge = PromptBuilder(replace(qwen_bundle, prompt=replace(RULES, lines=lines)))
    assert len(edge.build(edge.check_query("harmless"), 1).text_ids) > 0
    with pytest.raises(InvalidInput, match=r"the query holds '<\|im_end\|>'"):
        edge.build(edge.check_query("end|>"), 1)


def test_special_tokens_of_the_real_tokenizer_are_all_refused(builder: PromptBuilder, qwen: Path) -> None:
    added = json.loads((qwen / "tokenizer.json").read_text())["added_tokens"]
    special = [token["content"] for token in added if token["special"]]
    assert len(special) > 10
    for token in special:
        with pytest.raises(InvalidInput, match="a control token"):
            builder.check_query(f"before{token}after")
