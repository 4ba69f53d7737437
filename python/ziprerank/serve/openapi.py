"""The OpenAPI document: FastAPI's, with what generators of clients need and FastAPI does not know.

Uploads are ``format: binary``, by which generators and Swagger know files; fields of forms are never null; keys are
asked for only where the server has some; and the paths of other APIs are there, with their own names of our fields.
"""

from __future__ import annotations

import copy
from typing import Any

from fastapi import FastAPI

from ziprerank.serve.dialects import answers
from ziprerank.serve.dialects.table import BEDROCK_PATH, DIALECTS, IGNORED, SHARED_PATHS, Dialect
from ziprerank.serve.keys import KEY_HEADERS
from ziprerank.serve.settings import Settings

_OPEN = ("/health", "/ready")  # without a key in any case
_LISTS = {  # the list in an answer, and the score in its entries; answers without a name are bare lists
    answers.infinity: ("results", "relevance_score"),
    answers.sglang: (None, "score"),
    answers.tei: (None, "score"),
    answers.voyage: ("data", "relevance_score"),
    answers.mixedbread: ("data", "score"),
    answers.nim: ("rankings", "logit"),
    answers.score: ("data", "score"),
}
_PREFERRED = ("text_1", "text_2")  # of several names of one field


def describe(app: FastAPI, settings: Settings) -> None:
    """Has the application describe itself in this way.

    Args:
        app: The application, with all its routes; its document is made once, here.
        settings: Whether there are keys, and what they guard.
    """
    document = app.openapi()
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        for field in schema.get("properties", {}).values():
            _name_files(field)
    for item in document["paths"].values():
        for operation in item.values():
            if form := operation.get("requestBody", {}).get("content", {}).get("multipart/form-data"):
                schema = schemas[form["schema"]["$ref"].rpartition("/")[2]]
                schema["additionalProperties"] = False  # as in `check_form`
                for field in schema["properties"].values():
                    _without_null(field)
    for path in sorted(DIALECTS.keys() - set(SHARED_PATHS)):
        _add(document, path, DIALECTS[path][-1])
    _secure(document, settings)


def _name_files(field: dict[str, Any]) -> None:
    for file in (field, field.get("items", {})):
        if file.pop("contentMediaType", None):
            file["format"] = "binary"


def _without_null(field: dict[str, Any]) -> None:
    """Describes an optional field of a form by its type alone: a form leaves fields out, and cannot say null."""
    if "anyOf" in field:
        (kind,) = (one for one in field.pop("anyOf") if one != {"type": "null"})
        field |= {**kind, **field}


def _add(document: dict[str, Any], path: str, dialect: Dialect) -> None:
    """Adds a path of another API, with its body and its answer."""
    schemas = document["components"]["schemas"]
    shown = path.replace(":path}", "}")
    title = "".join(part.capitalize() for part in dialect.name.replace("'s", "").replace(",", "").split()) + "Request"
    if dialect.names and title not in schemas:
        schemas[title] = _body(schemas["RerankRequest"], dialect, title)
    name = title if dialect.names else "RerankRequest"
    post = copy.deepcopy(document["paths"]["/v1/rerank"]["post"])
    post["summary"] = f"Rerank ({dialect.name})"
    post["operationId"] = "rerank_" + "_".join(part.strip("{}").replace("-", "_") for part in shown.split("/")[1:])
    post["requestBody"]["content"]["application/json"]["schema"] = {"$ref": f"#/components/schemas/{name}"}
    if dialect.answer in _LISTS:
        post["responses"]["200"]["content"]["application/json"]["schema"] = _answer(*_LISTS[dialect.answer])
    if "{model}" in shown:
        description = "Any name; the server has one model."
        place = {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        post["parameters"] = [{**place, "description": description}]
        post["responses"]["404"] = {**post["responses"]["400"], "description": "The path is another one"}
    if path == BEDROCK_PATH:
        post["summary"] = "Rerank (Amazon Bedrock)"
    document["paths"][shown] = {"post": post}


def _body(ours: dict[str, Any], dialect: Dialect, title: str) -> dict[str, Any]:
    """Returns our own body under the names of another API, with the fields that it may have and that change nothing."""
    theirs: dict[str, str] = {}
    for name, field in dialect.names.items():
        if field not in theirs or name in _PREFERRED:
            theirs[field] = name
    body = copy.deepcopy(ours)
    renamed = {theirs.get(field, field): schema for field, schema in body["properties"].items()}
    for name, schema in renamed.items():
        schema["title"] = name
    body["properties"] = {**renamed, **{name: {"description": "Ignored."} for name in IGNORED if name not in renamed}}
    body["required"] = [theirs.get(field, field) for field in body["required"]]
    return {**body, "title": title, "description": f"The body of {dialect.name}."}


def _answer(name: str | None, score: str) -> dict[str, Any]:
    entry = {
        "type": "object",
        "properties": {"index": {"type": "integer"}, score: {"type": "number"}, "page": {"type": "integer"}},
        "required": ["index", score],
    }
    found = {"type": "array", "items": entry}
    return found if name is None else {"type": "object", "properties": {name: found}, "required": [name]}


def _secure(document: dict[str, Any], settings: Settings) -> None:
    """Names the ways to send a key, where one is needed."""
    schemes: dict[str, Any] = {"bearer": {"type": "http", "scheme": "bearer"}}
    schemes |= {name: {"type": "apiKey", "in": "header", "name": name} for name in KEY_HEADERS}
    document["components"].pop("securitySchemes", None)
    if settings.api_keys:
        document["components"]["securitySchemes"] = schemes
    for path, item in document["paths"].items():
        free = path in _OPEN or (path == "/metrics" and not settings.guard_metrics)
        for operation in item.values():
            operation.pop("security", None)
            if not settings.api_keys or free:
                operation["responses"].pop("401", None)
            else:
                operation["security"] = [{name: []} for name in schemes]
