"""Turns a body in any of the dialects into our own request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ziprerank.serve.dialects.asked import Asked
from ziprerank.serve.dialects.nested import lines_of, page_of, words_of
from ziprerank.serve.dialects.table import DIALECTS, IGNORED, NEUTRAL, RAW_IF_FALSE, SGLANG, Dialect
from ziprerank.serve.failures import Refused
from ziprerank.serve.schemas import StoredDocument

_SWITCHES = ("return_documents", "raw_scores", "stream")  # sent as strings by some clients
_OF_KEPT = StoredDocument.model_fields.keys()
_TRUTHS = {"true": True, "false": False}


def dialect_of(path: str, body: Mapping[str, Any]) -> Dialect:
    """Returns the dialect of a body that was sent to a path of ``DIALECTS``."""
    spoken, documents, model = DIALECTS[path], body.get("documents"), body.get("model")
    if SGLANG in spoken and isinstance(documents, list) and any(isinstance(one, list) for one in documents):
        return SGLANG  # no other API has bare lists of content parts
    for dialect in spoken:
        if dialect.marks & body.keys() or (isinstance(model, str) and model.startswith(dialect.models)):
            return dialect
    return spoken[-1]


def read_body(dialect: Dialect, body: dict[str, Any]) -> tuple[dict[str, Any], Asked]:
    """Returns our own request as plain data, and what it has no word for.

    Nulls are absent fields. Fields that an API documents and that change nothing here are left out, with a note; what
    no API has stays, for the validation to refuse it by name.

    Args:
        dialect: The body's.
        body: The parsed JSON.

    Raises:
        Refused: A field cannot be what its API has there.
    """
    asked, request = Asked(), dict(dialect.defaults)
    for name, value in (dialect.flat(body) if dialect.flat else body).items():
        if value is None:
            continue
        if name in RAW_IF_FALSE:
            request["raw_scores"] = value is False or request.get("raw_scores", False)
            continue
        if name in IGNORED:
            if IGNORED[name] and value and value not in NEUTRAL.get(name, ()):
                asked.notes.append(f"{name} is ignored: {IGNORED[name]}")
            continue
        ours = dialect.names.get(name, name)
        if ours in asked.names:
            raise Refused(422, f"{name}: given beside {asked.names[ours]}: leave one out", param=name)
        asked.names[ours] = name
        request[ours] = value
    _read_values(request, asked)
    raw = request.pop("raw_scores", False)
    if not isinstance(raw, bool):
        raise Refused(422, "raw_scores: true or false is needed", param="raw_scores")
    asked.raw_scores = raw
    if raw and isinstance(request.setdefault("include", []), list) and "logit" not in request["include"]:
        request["include"] = [*request["include"], "logit"]
    return request, asked


def _read_values(request: dict[str, Any], asked: Asked) -> None:
    """Brings the values of a request's fields into our own shapes, in place."""
    if "query" in request:
        request["query"] = words_of(_one(request["query"], asked.names["query"]))
    fields = request.pop("rank_fields", None)
    if "documents" in request:
        request["documents"] = _documents(request["documents"], fields, asked)
    for name in _SWITCHES:
        if isinstance(value := request.get(name), str):
            request[name] = _TRUTHS.get(value.lower(), value)
    if "top_n" in request:
        request["top_n"] = _whole(request["top_n"])


def _one(queries: Any, name: str) -> Any:
    """Returns the only query of a list under a name for several."""
    if name == "query" or not isinstance(queries, list) or any(isinstance(one, dict) for one in queries):
        return queries
    if len(queries) != 1:
        message = f"{name}: {len(queries)} queries, one at a time: pages are compared with each other for one query"
        raise Refused(422, message, param=name)
    return queries[0]


def _whole(value: Any) -> Any:
    """Returns ``3`` for ``3.0`` and ``"3"``, and anything else as it is."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        return int(value)
    return value


def _documents(documents: Any, fields: Any, asked: Asked) -> Any:
    """Returns the documents in our own shapes; ``asked`` gets them as they were sent."""
    if isinstance(documents, dict) and isinstance(documents.get("content"), list):
        documents = [{"content": [part]} for part in documents["content"]]  # vLLM: each part is a document
    elif isinstance(documents, str) and asked.list != "documents":
        documents = [documents]
    if not isinstance(documents, list):
        return documents
    asked.documents = documents
    return [_document(document, fields) for document in documents]


def _document(sent: Any, fields: Any) -> Any:
    """Returns a document in one of our own shapes.

    Args:
        sent: The document as it was sent.
        fields: Cohere v1's ``rank_fields``: the fields of an object that make its text.
    """
    if isinstance(sent, list):  # SGLang: content parts without an object around them
        return page_of({"content": sent})
    if not isinstance(sent, dict):
        return sent
    known = {name: value for name, value in sent.items() if value is not None}
    kept = "document_id" in known and known.keys() <= _OF_KEPT  # beside other fields, it is metadata of the client's
    if isinstance(fields, list) and not kept and not known.keys() & {"image", "pdf", "content"}:
        return {"text": lines_of({name: known[name] for name in fields if name in known})}
    return page_of(known)
