"""The answers of other APIs, each made from our own."""

from __future__ import annotations

import json
from time import time
from typing import Any

from fastapi.responses import JSONResponse, Response

from ziprerank.serve.dialects.asked import Asked
from ziprerank.serve.schemas import RerankResponse, Result

WARNINGS_HEADER = "X-Warnings"  # of answers that have no place for them
_MOST_HEADER = 4_000  # characters; those that do not fit are counted


def results(answer: RerankResponse, asked: Asked) -> RerankResponse:
    """Cohere's, Jina's and vLLM's, which is our own."""
    if asked.raw_scores:
        for result in answer.results:
            result.relevance_score = _score(result, asked)
    return answer


def infinity(answer: RerankResponse, asked: Asked) -> Response:
    """Cohere's, with documents as strings."""
    entries = [_entry(one, asked, "relevance_score", "document") for one in answer.results]
    about = {"id": answer.id, "object": "rerank", "created": int(time())}
    return JSONResponse({**about, "results": entries, **_common(answer)})


def tei(answer: RerankResponse, asked: Asked) -> Response:
    """A bare list."""
    return _bare([_entry(one, asked, "score", "text") for one in answer.results], answer)


def sglang(answer: RerankResponse, asked: Asked) -> Response:
    """A bare list."""
    return _bare([{**_entry(one, asked, "score", "document"), "meta_info": {}} for one in answer.results], answer)


def voyage(answer: RerankResponse, asked: Asked) -> Response:
    """A list named ``data``, with documents as strings."""
    data = [_entry(one, asked, "relevance_score", "document") for one in answer.results]
    return JSONResponse({"object": "list", "data": data, **_common(answer)})


def mixedbread(answer: RerankResponse, asked: Asked) -> Response:
    """A list named ``data``, with documents under ``input``."""
    data = [{**_entry(one, asked, "score", "input"), "object": "rank_result"} for one in answer.results]
    returned = any("input" in one for one in data)
    entries = {"object": "list", "data": data, "top_k": len(data), "return_input": returned}
    return JSONResponse({**entries, **_common(answer)})


def nim(answer: RerankResponse, asked: Asked) -> Response:
    """A list named ``rankings``, with logits."""
    rankings = [_entry(one, asked, "logit", None) for one in answer.results]
    return JSONResponse({"rankings": rankings, **_common(answer)})


def bedrock(answer: RerankResponse, asked: Asked) -> Response:
    """A list named ``results``, in camel case."""
    sources = [_entry(one, asked, "relevanceScore", None) for one in answer.results]
    return JSONResponse({"results": sources, **_common(answer)})


def score(answer: RerankResponse, asked: Asked) -> Response:
    """A score for each document, in the order of the request: that of its best page."""
    best: dict[int, float] = {}
    for result in answer.results:
        best[result.index] = max(_score(result, asked), best.get(result.index, float("-inf")))
    data = [{"index": index, "object": "score", "score": best[index]} for index in sorted(best)]
    entries = {"id": answer.id, "object": "list", "created": int(time()), "data": data}
    return JSONResponse({**entries, **_common(answer)})


def _score(result: Result, asked: Asked) -> float:
    return result.logit if asked.raw_scores and result.logit is not None else result.relevance_score


def _entry(result: Result, asked: Asked, score: str, document: str | None) -> dict[str, Any]:
    """Returns a result under the names that an API has; a document of words or of one file is its string."""
    entry: dict[str, Any] = {"index": result.index, score: _score(result, asked)}
    if result.page is not None:
        entry["page"] = result.page
    if document and result.document is not None:
        sent = asked.documents[result.index]
        fields = sent if isinstance(sent, dict) else {"text": sent}
        entry[document] = next((fields[key] for key in ("text", "image", "url", "document_id") if key in fields), sent)
    return entry


def _common(answer: RerankResponse) -> dict[str, Any]:
    parts = answer.model_dump(include={"model", "usage", "meta"}, exclude_none=True)
    return {name: parts[name] for name in ("model", "usage", "meta")}


def _bare(entries: list[dict[str, Any]], answer: RerankResponse) -> Response:
    told = list(answer.meta.warnings or [])
    left = 0
    while told and len(json.dumps(_with_rest(told, left))) > _MOST_HEADER:
        told.pop()
        left += 1
    headers = {WARNINGS_HEADER: json.dumps(_with_rest(told, left))} if told or left else {}
    return JSONResponse(entries, headers=headers)


def _with_rest(told: list[str], left: int) -> list[str]:
    """Returns the warnings that fit, and how many do not."""
    return [*told, f"and {left:,} more"] if left else told


def document_of(sent: Any) -> dict[str, Any]:
    """Returns a document as a result carries it: an object, whatever the client sent."""
    if isinstance(sent, str):
        return {"text": sent}
    if isinstance(sent, list):
        return {"multi_modal": sent}
    content = sent.get("content")
    return sent if content is None else {"text": content} if isinstance(content, str) else {"multi_modal": content}
