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


def page_of(document: dict[str, Any]) -> tuple[Any, str | None]:
    """Returns a document in one of our own shapes, and what it lost by that.

    A page is one image: words beside it are not read. Words by themselves are one text.
    """
    if "content" in document or isinstance(document.get("url"), str):
        return _of_parts(document) if "content" in document else _beside({**document, "image": document["url"]}, "url")
    if "image" in document and "text" in document:
        return _beside(document, "text")
    if "text" in document and not document.keys() & {"pdf", "picture"}:
        return {"text": document["text"]}, None  # other fields are metadata of the client's, as in Cohere v1
    return document, None


def _beside(document: dict[str, Any], extra: str) -> tuple[dict[str, Any], str | None]:
    told = "its text is not read: a page is ranked by its image" if "text" in document else None
    return {name: value for name, value in document.items() if name not in ("text", extra)}, told


def _of_parts(document: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    content = document["content"]
    if isinstance(content, str):
        return {"text": content}, None
    if not isinstance(content, list):
        return document, None
    parts = [_part(part) for part in content]
    kinds = [part.get("type") if isinstance(part, dict) else None for part in parts]
    if kinds and set(kinds) == {"text"}:
        texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
        return ({"text": "\n".join(texts)} if len(texts) > 1 else {"content": parts}), None
    images = [part for part, kind in zip(parts, kinds, strict=True) if kind != "text"]
    told = "its text is not read: a page is ranked by its image" if len(images) < len(parts) else None
    return {**document, "content": images}, told


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
