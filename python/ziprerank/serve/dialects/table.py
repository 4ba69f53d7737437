"""The table of dialects: for each API its paths, the names of its fields, and the shape of its answer.

A body belongs to the first dialect of its path of which it has a mark; each path ends with one that needs none. Where
an API is documented, and which clients were tried, is in docs/clients.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi.responses import Response

from ziprerank.serve.dialects import answers
from ziprerank.serve.dialects.asked import Asked
from ziprerank.serve.dialects.nested import from_bedrock
from ziprerank.serve.schemas import RerankResponse


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one API, or a family of them, sends and expects.

    Attributes:
        name: The API's.
        answer: Makes the answer's body from ours.
        marks: Fields that only this API has on its paths.
        models: How the names of its models begin, where its fields are those of others.
        names: The API's names of our fields.
        defaults: Our fields that this API gives another value where they are absent.
        flat: Brings a nested body into one level.
    """

    name: str
    answer: Callable[[RerankResponse, Asked], RerankResponse | Response]
    marks: frozenset[str] = frozenset()
    models: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    flat: Callable[[dict[str, Any]], dict[str, Any]] | None = None


# Cohere v1 and v2, Azure, Jina, vLLM, Xinference, Together, SiliconFlow and Bedrock's models: one shape
COMMON = Dialect("Cohere, Jina, vLLM", answers.results)

TEI = Dialect(
    "Text Embeddings Inference",
    answers.tei,
    marks=frozenset({"texts"}),
    names={"texts": "documents", "return_text": "return_documents"},
)
SGLANG = Dialect(
    "SGLang",
    answers.sglang,
    marks=frozenset({"instruct"}),
    names={"instruct": "instruction"},
    defaults={"return_documents": True},
)
VOYAGE = Dialect(
    "Voyage",
    answers.voyage,
    marks=frozenset({"top_k", "truncation"}),
    models=("rerank-2", "rerank-1", "rerank-lite"),
    names={"top_k": "top_n"},
)
INFINITY = Dialect("infinity", answers.infinity, marks=frozenset({"raw_scores"}))
BEDROCK = Dialect("Bedrock agents", answers.bedrock, marks=frozenset({"sources"}), flat=from_bedrock)
NIM = Dialect(
    "NVIDIA NIM", answers.nim, names={"passages": "documents", "top_k": "top_n"}, defaults={"raw_scores": True}
)
MIXEDBREAD = Dialect(
    "Mixedbread",
    answers.mixedbread,
    names={"input": "documents", "top_k": "top_n", "return_input": "return_documents"},
)
SCORE = Dialect(
    "vLLM's score",
    answers.score,
    names={
        **dict.fromkeys(("queries", "text_1", "data_1"), "query"),
        **dict.fromkeys(("items", "text_2", "data_2"), "documents"),
    },
)

BEDROCK_PATH = "/model/{model}/invoke"  # whose clients do not declare JSON
SHARED_PATHS = ("/v1/rerank", "/v2/rerank", "/rerank")  # in the schema; all of them speak all that is common
_ON_SHARED = (TEI, BEDROCK, SGLANG, VOYAGE, INFINITY, COMMON)
DIALECTS: Mapping[str, tuple[Dialect, ...]] = {
    **dict.fromkeys(SHARED_PATHS, _ON_SHARED),
    "/providers/cohere/v2/rerank": (COMMON,),  # Azure AI Foundry
    BEDROCK_PATH: (COMMON,),
    "/v1/ranking": (NIM,),
    "/v1/retrieval/{model:path}/reranking": (NIM,),
    "/v1/reranking": (MIXEDBREAD,),
    # for clients whose bodies could be those of others: with the API's name in the address nothing has to be told apart
    "/infinity/rerank": (INFINITY,),
    "/sglang/v1/rerank": (SGLANG,),
    "/tei/rerank": (TEI,),
    "/voyage/v1/rerank": (VOYAGE,),
    "/score": (SCORE,),
    "/v1/score": (SCORE,),
}


_CUT = "pages are never cut, and a text ends where its page does"
_PROMPT = "the model's prompt and its processor are fixed"
_SAYS_NOTHING = ("user", "request_id", "api_version", "encoding_format", "nextToken", "kwargs")
IGNORED: Mapping[str, str | None] = {  # fields that some API documents and that change nothing here, with the reason
    **dict.fromkeys(_SAYS_NOTHING, None),
    **dict.fromkeys(("max_tokens_per_doc", "max_tokens_per_query", "max_chunks_per_doc", "overlap_tokens"), _CUT),
    **dict.fromkeys(("truncate", "truncation", "truncation_side", "truncation_direction"), _CUT),
    **dict.fromkeys(("truncate_prompt_tokens", "max_doc_length", "max_query_length"), _CUT),
    **dict.fromkeys(("chat_template", "chat_template_kwargs"), _PROMPT),
    **dict.fromkeys(("mm_processor_kwargs", "add_special_tokens", "rewrite_query"), _PROMPT),
    "priority": "requests are served in the order of arrival",
    **dict.fromkeys(("return_len", "return_embeddings"), "answers have no such part"),
}
NEUTRAL: Mapping[str, tuple[Any, ...]] = {  # what asks for what happens anyway, besides what is false or zero
    "truncation": (True,),
    "truncate": (True, "END"),
    "truncate_prompt_tokens": (-1,),
    "add_special_tokens": (True,),
}
RAW_IF_FALSE = frozenset({"use_activation", "activation", "softmax"})  # vLLM's words for "no logits, please"
