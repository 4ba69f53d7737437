"""Requests as the documentation of other servers and programs has them, sent as they are, and their answers.

A body is made of documents, which are words or page images as data URLs, and the number of results that are wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from client_calls import QUERY, Pairs

Make = Callable[[Sequence[str], int], dict[str, Any]]


@dataclass(frozen=True)
class Body:
    """A row of the table in docs/clients.md.

    Attributes:
        name: Whose request it is.
        source: Where it is documented, without ``https://``.
        path: Where it is sent.
        make: Makes the body.
        read: Reads the answer.
        logits: Whether scores are logits.
        texts: Whether it sends words.
        images: Whether it sends page images.
        sorted: Whether the answer has the best result first; otherwise all, in the order of the documents.
        note: What else a reader should know.
    """

    name: str
    source: str
    path: str
    make: Make
    read: Callable[[Any], Pairs]
    logits: bool = False
    texts: bool = True
    images: bool = False
    sorted: bool = True
    note: str = ""


def results(answer: Any) -> Pairs:
    return [(one["index"], one["relevance_score"]) for one in answer["results"]]


def data(answer: Any) -> Pairs:
    return [(one["index"], one["relevance_score"]) for one in answer["data"]]


def scores(answer: Any) -> Pairs:
    assert answer["object"] == "list"
    return [(one["index"], one["score"]) for one in answer["data"]]


def bare(answer: Any) -> Pairs:
    return [(one["index"], one["score"]) for one in answer]


def common(documents: Sequence[str], top: float, /, **more: Any) -> dict[str, Any]:
    return {"model": "any", "query": QUERY, "documents": list(documents), "top_n": top, **more}


def part(document: str) -> dict[str, Any]:
    if document.startswith("data:"):
        return {"type": "image_url", "image_url": {"url": document}}
    return {"type": "text", "text": document}


def bedrock(documents: Sequence[str], top: int) -> dict[str, Any]:
    sources = [
        {"type": "INLINE", "inlineDocumentSource": {"type": "JSON", "jsonDocument": {"text": one}}} for one in documents
    ]
    model = {"modelArn": "arn:aws:bedrock:us-west-2::foundation-model/amazon.rerank-v1:0"}
    return {
        "queries": [{"type": "TEXT", "textQuery": {"text": QUERY}}],
        "sources": sources,
        "rerankingConfiguration": {
            "type": "BEDROCK_RERANKING_MODEL",
            "bedrockRerankingConfiguration": {"numberOfResults": top, "modelConfiguration": model},
        },
    }


BODIES = [
    Body(
        "Cohere v2",
        "docs.cohere.com/v2/reference/rerank",
        "/v2/rerank",
        lambda documents, top: common(documents, top, max_tokens_per_doc=4096, priority=0),
        results,
        images=True,
    ),
    Body(
        "Cohere v1, objects",
        "docs.cohere.com/v1/reference/rerank",
        "/v1/rerank",
        lambda documents, top: common(
            [], top, documents=[{"text": one, "id": "7"} for one in documents], max_chunks_per_doc=10
        ),
        results,
    ),
    Body(
        "Jina",
        "jina.ai/reranker",
        "/v1/rerank",
        lambda documents, top: common(documents, top, model="jina-reranker-v3", return_documents=False),
        results,
        images=True,
    ),
    Body(
        "Jina m0, `image`",
        "jina.ai/models/jina-reranker-m0",
        "/v1/rerank",
        lambda documents, top: common([], top, documents=[{"image": one} for one in documents]),
        results,
        texts=False,
        images=True,
    ),
    Body(
        "Jina m0, `url`",
        "jina.ai/models/jina-reranker-m0",
        "/v1/rerank",
        lambda documents, top: common([], top, documents=[{"url": one} for one in documents]),
        results,
        texts=False,
        images=True,
        note="`https:` URLs need `--fetch`",
    ),
    Body(
        "Jina m0, text and image",
        "jina.ai/models/jina-reranker-m0",
        "/v1/rerank",
        lambda documents, top: common([], top, documents=[{"image": one, "text": "words"} for one in documents]),
        results,
        texts=False,
        images=True,
        note="the image is ranked; a warning says that the text is not",
    ),
    Body(
        "vLLM rerank",
        "docs.vllm.ai/en/latest/models/pooling_models/scoring",
        "/rerank",
        lambda documents, top: common(
            documents, top, truncate_prompt_tokens=-1, truncation_side="right", use_activation=True, request_id="1"
        ),
        results,
        images=True,
    ),
    Body(
        "vLLM rerank, content of each document",
        "docs.vllm.ai/en/latest/models/pooling_models/scoring",
        "/v1/rerank",
        lambda documents, top: common([], top, documents=[{"content": [part(one)]} for one in documents]),
        results,
        images=True,
    ),
    Body(
        "vLLM rerank, documents as one content",
        "docs.vllm.ai/en/latest/models/pooling_models/scoring",
        "/v2/rerank",
        lambda documents, top: common([], top, documents={"content": [part(one) for one in documents]}),
        results,
        images=True,
        note="each part is a document",
    ),
    Body(
        "vLLM rerank, `use_activation: false`",
        "docs.vllm.ai/en/latest/models/pooling_models/scoring",
        "/rerank",
        lambda documents, top: common(documents, top, use_activation=False),
        results,
        logits=True,
        images=True,
    ),
    Body(
        "vLLM score, `text_1` and `text_2`",
        "docs.vllm.ai/en/latest/models/pooling_models/scoring",
        "/score",
        lambda documents, _: {"model": "any", "text_1": QUERY, "text_2": list(documents), "encoding_format": "float"},
        scores,
        images=True,
        sorted=False,
    ),
    Body(
        "vLLM score, `queries` and `documents`",
        "docs.vllm.ai/en/latest/models/pooling_models/scoring",
        "/v1/score",
        lambda documents, _: {
            "queries": {"content": [{"type": "text", "text": QUERY}]},
            "documents": {"content": [part(one) for one in documents]},
            "mm_processor_kwargs": {"max_pixels": 1000},
        },
        scores,
        images=True,
        sorted=False,
        note="one query a request",
    ),
    Body(
        "vLLM score, `data_1` and `data_2`",
        "docs.vllm.ai/en/latest/models/pooling_models/scoring",
        "/score",
        lambda documents, _: {"data_1": [QUERY], "data_2": list(documents)},
        scores,
        images=True,
        sorted=False,
    ),
    Body(
        "SGLang API",
        "docs.sglang.io/supported_models/rerank_models.html",
        "/sglang/v1/rerank",
        lambda documents, top: common(documents, top, return_documents=True),
        bare,
        images=True,
        note="at `URL/sglang`, where words alone do not tell it from Jina",
    ),
    Body(
        "SGLang, lists of parts",
        "docs.sglang.io/supported_models/rerank_models.html",
        "/v1/rerank",
        lambda documents, top: common([], top, documents=[[part(one)] for one in documents], instruct=""),
        bare,
        images=True,
        note="`instruct` is refused where the model's prompt has no place for it",
    ),
    Body(
        "Text Embeddings Inference",
        "huggingface.github.io/text-embeddings-inference",
        "/rerank",
        lambda documents, _: {"query": QUERY, "texts": list(documents), "truncate": True, "return_text": True},
        bare,
        images=True,
    ),
    Body(
        "Text Embeddings Inference, `raw_scores`",
        "huggingface.github.io/text-embeddings-inference",
        "/rerank",
        lambda documents, _: {"query": QUERY, "texts": list(documents), "raw_scores": True},
        bare,
        logits=True,
        images=True,
    ),
    Body(
        "NVIDIA NIM API",
        "docs.nvidia.com/nim/nemo-retriever/reranking/latest",
        "/v1/ranking",
        lambda documents, _: {
            "model": "nvidia/llama-nemotron-rerank-vl-1b-v2",
            "query": {"text": QUERY},
            "passages": [{"image" if one.startswith("data:") else "text": one} for one in documents],
            "truncate": "END",
        },
        lambda answer: [(one["index"], one["logit"]) for one in answer["rankings"]],
        logits=True,
        images=True,
    ),
    Body(
        "Voyage API",
        "docs.voyageai.com/reference/reranker-api",
        "/v1/rerank",
        lambda documents, top: {
            "query": QUERY,
            "documents": list(documents),
            "model": "rerank-2.5",
            "top_k": top,
            "return_documents": True,
            "truncation": True,
        },
        data,
        images=True,
    ),
    Body(
        "Mixedbread API",
        "mixedbread.com/api-reference/endpoints/reranking",
        "/v1/reranking",
        lambda documents, top: {
            "model": "mixedbread-ai/mxbai-rerank-large-v2",
            "query": QUERY,
            "input": list(documents),
            "top_k": top,
            "return_input": False,
        },
        scores,
        images=True,
    ),
    Body(
        "Azure AI Foundry, Cohere",
        "learn.microsoft.com/azure/ai-foundry/how-to/deploy-models-cohere-rerank",
        "/providers/cohere/v2/rerank",
        common,
        results,
        images=True,
    ),
    Body(
        "Amazon Bedrock, InvokeModel",
        "docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-cohere-rerank.html",
        "/model/cohere.rerank-v3-5:0/invoke",
        lambda documents, top: {"query": QUERY, "documents": list(documents), "top_n": top, "api_version": 2},
        results,
        images=True,
    ),
    Body(
        "Amazon Bedrock agents, `jsonDocument`",
        "docs.aws.amazon.com/bedrock/latest/APIReference/API_agent-runtime_Rerank.html",
        "/rerank",
        bedrock,
        lambda answer: [(one["index"], one["relevanceScore"]) for one in answer["results"]],
    ),
    Body(
        "Xinference API",
        "inference.readthedocs.io/en/latest/models/model_abilities/rerank.html",
        "/v1/rerank",
        lambda documents, top: common(documents, float(top), return_documents="true", return_len=None, kwargs="{}"),
        results,
        images=True,
    ),
    Body(
        "infinity, `raw_scores`",
        "michaelfeil.eu/infinity",
        "/rerank",
        lambda documents, top: common(documents, top, raw_scores=True, return_documents=False),
        results,
        logits=True,
        images=True,
    ),
    Body(
        "Together API",
        "docs.together.ai/reference/rerank",
        "/v1/rerank",
        lambda documents, top: common(
            [], top, documents=[{"title": "a", "text": one} for one in documents], rank_fields=["text"]
        ),
        results,
    ),
    Body(
        "SiliconFlow",
        "docs.siliconflow.cn/en/api-reference/rerank/create-rerank",
        "/v1/rerank",
        lambda documents, top: common(
            documents, top, instruction="", return_documents=False, max_chunks_per_doc=1024, overlap_tokens=80
        ),
        results,
        images=True,
    ),
    Body(
        "Open WebUI, external reranker",
        "github.com/open-webui/open-webui/blob/main/backend/open_webui/retrieval/models/external.py",
        "/v1/rerank",
        lambda documents, _: common(documents, len(documents)),
        results,
        note="`--render-text`",
    ),
    Body(
        "RAGFlow, Xinference",
        "github.com/infiniflow/ragflow/blob/main/rag/llm/rerank_model.py",
        "/v1/rerank",
        lambda documents, _: {
            "model": "any",
            "query": QUERY,
            "return_documents": "true",
            "return_len": "true",
            "documents": list(documents),
        },
        results,
        note="`--render-text`",
    ),
    Body(
        "Dify, OpenAI-API-compatible",
        "github.com/langgenius/dify-official-plugins",
        "/v1/rerank",
        lambda documents, top: common(documents, top, return_documents=True),
        lambda answer: [(one["index"], one["relevance_score"]) for one in answer["results"] if one["document"]["text"]],
        note="`--render-text`",
    ),
]
