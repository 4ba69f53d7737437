"""Reads forms as they are on the wire, where every field is text: `7` is a string there, and a list of one string."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser

_TRUTHS = {"1", "0", "true", "false", "t", "f", "yes", "no", "y", "n", "on", "off"}
_NOTES = {"title", "description", "default"}
_LIMITS = {
    "array": {"items", "maxItems"},
    "boolean": set[str](),
    "integer": {"minimum", "maximum", "exclusiveMinimum"},
    "number": {"minimum", "maximum", "exclusiveMinimum"},
    "string": {"format", "minLength", "maxLength", "pattern", "enum"},
}


def is_form_allowed(schema: Mapping[str, Any], headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a multipart body has the fields that a schema asks for, and each of them texts or files that it allows.

    A field that is not a list stands there once, and an empty one is as if it were not there.

    Raises:
        AssertionError: The schema says something that is not known here.
    """

    async def parts() -> AsyncIterator[bytes]:
        yield body

    try:
        form = asyncio.run(MultiPartParser(Headers(headers), parts()).parse())
    except (MultiPartException, KeyError):  # KeyError: no Content-Type
        return False
    given = {}
    assert schema["additionalProperties"] is False
    if not set(form) <= schema["properties"].keys():
        return False
    for name, field in schema["properties"].items():
        values = form.getlist(name)
        if field["type"] != "array":
            if len(values) > 1:
                return False
            values = [one for one in values if one != ""]
        if values:
            given[name] = values
    return set(schema.get("required", ())) <= given.keys() and all(
        _allows(schema["properties"][name], values) for name, values in given.items()
    )


def _allows(schema: Mapping[str, Any], values: list[Any]) -> bool:
    kind = schema["type"]
    assert schema.keys() <= {"type"} | _NOTES | _LIMITS[kind], schema
    if kind == "array":
        return len(values) <= schema.get("maxItems", math.inf) and all(
            _allows(schema["items"], [one]) for one in values
        )
    value = values[-1]
    if schema.get("format") == "binary" or not isinstance(value, str):
        return schema.get("format") == "binary" and not isinstance(value, str)
    if kind == "boolean":
        return value.lower() in _TRUTHS
    if kind == "string":
        fits = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf) and re.search(
            schema.get("pattern", ""), value
        )
        return bool(fits) and value in schema.get("enum", [value])
    try:
        number = float(value)
    except ValueError:
        return False
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    return (
        low <= number <= high
        and number > schema.get("exclusiveMinimum", -math.inf)
        and (kind == "number" or number.is_integer())
    )
