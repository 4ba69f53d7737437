"""Bodies with levels that ours have not: content parts of chats, and Bedrock's sources."""

from __future__ import annotations

from typing import Any

from ziprerank.serve.failures import Refused

_QUERY_IMAGE = "a query of words is needed: images cannot be looked for, only looked through; describe it in words"


def from_bedrock(body: dict[str, Any]) -> dict[str, Any]:
    """Returns the body of Bedrock's agent runtime in one level: query, documents, top_n and model.

    Raises:
        Refused: A part is not as the API has it.
    """
    queries, sources = body.get("queries"), body.get("sources")
    if not isinstance(queries, list) or len(queries) != 1:
        raise Refused(422, "queries: one query is needed, in a list", param="queries")
    configuration = _inside(body, "rerankingConfiguration", "bedrockRerankingConfiguration") or {}
    flat = {
        "query": _inside(queries[0], "textQuery", "text"),
        "top_n": configuration.get("numberOfResults"),
        "model": _inside(configuration, "modelConfiguration", "modelArn"),
        "documents": sources,
    }
    if isinstance(sources, list):
        flat["documents"] = [_bedrock_document(number, source) for number, source in enumerate(sources)]
    known = {"queries", "sources", "rerankingConfiguration"}
    return {**{name: value for name, value in body.items() if name not in known}, **flat}


def _bedrock_document(number: int, source: Any) -> Any:
    text = _inside(source, "inlineDocumentSource", "textDocument", "text")
    fields = _inside(source, "inlineDocumentSource", "jsonDocument")
    if isinstance(text, str):
        return text
    if isinstance(fields, dict):
        return lines_of(fields)
    where = f"sources[{number}]"
    message = f"{where}: inlineDocumentSource with a textDocument or a jsonDocument is needed"
    raise Refused(422, message, param=where, index=number)


def lines_of(fields: dict[str, Any]) -> str:
    """Returns an object's fields as a text, a line for each, ``title: Dividends``; of one field its value."""
    known = {name: value for name, value in fields.items() if value is not None}
    return "\n".join(f"{name}: {value}" if len(known) > 1 else str(value) for name, value in known.items())


def words_of(query: Any) -> Any:
    """Returns the words of a query, whatever holds them: a string, an object with text, or content parts.

    Anything else is returned as it is, for the validation to name it.

    Raises:
        Refused: The query is an image.
    """
    if isinstance(query, dict) and "content" in query:
        query = query["content"]
    parts = query if isinstance(query, list) else [query]
    if any(isinstance(part, dict) and part.keys() & {"image", "image_url", "url", "pdf"} for part in parts):
        raise Refused(422, f"query: {_QUERY_IMAGE}", param="query")
    found = [part.get("text") if isinstance(part, dict) else part for part in parts]
    texts = [text for text in found if isinstance(text, str)]
    return "\n".join(texts) if 0 < len(texts) == len(found) else query


def page_of(document: dict[str, Any]) -> Any:
    """Returns a document in one of our own shapes: an image, a text, or an image with a text beside it."""
    if "content" in document:
        return _of_parts(document)
    if isinstance(document.get("url"), str):
        return {name: value for name, value in {**document, "image": document["url"]}.items() if name != "url"}
    if "text" in document and not document.keys() & {"pdf", "picture", "image"}:
        return {"text": document["text"]}  # other fields are metadata of the client's, as in Cohere v1
    return document


def _of_parts(document: dict[str, Any]) -> Any:
    content = document["content"]
    if isinstance(content, str):
        return {"text": content}
    if not isinstance(content, list):
        return document
    parts = [_part(part) for part in content]
    texts = [part for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    words = [part["text"] for part in texts if isinstance(part.get("text"), str)]
    if len(words) < len(texts) or (len(words) < 2 and len(texts) == len(parts)):
        return {**document, "content": parts}
    if len(texts) == len(parts):
        return {"text": "\n".join(words)}
    images = [part for part in parts if part not in texts]
    joined = [{"type": "text", "text": "\n".join(words)}] if words else []
    return {**document, "content": [*images, *joined]}


def _part(part: Any) -> Any:
    """Returns a content part in vLLM's shape, without what its image was meant to cost (``detail``, ``uuid``)."""
    if not isinstance(part, dict) or part.get("type") not in ("image_url", "image"):
        return part
    url = part.get("image_url", part.get("image"))
    return {"type": "image_url", "image_url": {"url": url.get("url") if isinstance(url, dict) else url}}


def _inside(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value
