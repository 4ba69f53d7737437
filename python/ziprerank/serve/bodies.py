"""Reads the bodies of requests that have arrived: JSON and forms, with bounds ahead of everything that grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from pydantic_core import from_json
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.types import Scope

from ziprerank.serve.dialects.reading import dialect_of, read_body
from ziprerank.serve.failures import Refused
from ziprerank.serve.forms import check_form, form_fields

_MOST_JSON = 1_000_000  # commas, brackets and colons; parsed JSON then takes under 0.2 GB besides its strings
_MOST_KEYS = 64  # of one object
_MOST_KEYS_IN_ALL = 32_000  # each wrong one becomes an error; as many as these take 0.12 s
_PART = 1 << 16  # bytes of a form, or of JSON, parsed in one turn of the event loop


class ReceivedRequest(Request):
    """A request whose whole body has arrived."""

    def __init__(self, scope: Scope, body: bytes) -> None:
        super().__init__(scope)
        self._received = body

    async def body(self) -> bytes:
        """Returns the body."""
        return self._received

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yields the body in parts, with a turn of the event loop in between."""
        for at in range(0, len(self._received), _PART):
            yield self._received[at : at + _PART]
            await asyncio.sleep(0)

    async def json(self) -> Any:
        """Parses JSON with a limit of depth, without NaN and lone surrogates, and checks how much there is of it.

        Returns:
            The request as our own API has it, in whichever dialect it came; the scope gets ``dialect`` and ``asked``.

        Raises:
            Refused: It is not valid (400), has too many values (413), or a field that its dialect has not (422).
        """
        body, self._received = self._received, b""
        most: int = self.scope["app"].state.service.settings.max_pages
        path = self.scope["route"].path
        if len(body) <= _PART:
            value, spoken = _understood(body, most, path)
        else:  # others have their turns meanwhile
            value, spoken = await asyncio.to_thread(_understood, body, most, path)
        self.scope.update(spoken)
        return value

    async def form(  # type: ignore[override]  # FastAPI awaits it
        self, *, max_files: int = 1000, max_fields: int = 1000, max_part_size: int = 1 << 20
    ) -> FormData:
        """Parses a multipart form. Its files stay in memory, where the body is, and never go to a temporary folder.

        Raises:
            Refused: It is no multipart form (415), not a valid one (400), or has a field that the path has not, or one
                twice that is no list (422).
        """
        if not self.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            raise Refused(415, "the body is not declared as a form: send Content-Type: multipart/form-data")
        parser = _InMemory(
            self.headers, self.stream(), max_files=max_files, max_fields=max_fields, max_part_size=max_part_size
        )
        try:
            form = await parser.parse()
        except MultiPartException as error:
            raise Refused(400, f"the form is not valid: {error.message}") from None
        self._received = b""
        check_form(form, form_fields(self.scope["endpoint"]))
        return form


def _understood(body: bytes, most: int, path: str) -> tuple[Any, dict[str, Any]]:
    """Returns the request in our own API's words, and ``dialect`` and ``asked`` of an object. Raises Refused."""
    value = _parsed(body, most)
    if not isinstance(value, dict):
        return value, {}
    dialect = dialect_of(path, value)
    value, asked = read_body(dialect, value)
    return value, {"dialect": dialect, "asked": asked}


def _parsed(body: bytes, most: int) -> Any:
    """Returns the value of JSON whose lists have at most so many items. Raises Refused."""
    marks = sum(body.count(mark) for mark in (b",", b"[", b"{", b":"))
    if marks > _MOST_JSON:
        raise Refused(413, f"JSON with {marks:,} commas, brackets and colons, at most {_MOST_JSON:,}: send less")
    try:
        value = from_json(body, allow_inf_nan=False, cache_strings="none")
    except ValueError as error:
        raise Refused(400, f"the body is not valid JSON: {error}") from None
    _check_counts(value, most)
    return value


class _InMemory(MultiPartParser):
    spool_max_size = 0  # no limit, after which the file would go to a disk that may be full


def _check_counts(value: Any, most: int) -> None:
    """Refuses lists and objects that no request needs, before each of their items is validated, and named if wrong."""
    open_values = [("", value)]
    keys = 0
    while open_values:
        name, value = open_values.pop()
        if isinstance(value, dict):
            keys += len(value)
            if len(value) > _MOST_KEYS:
                raise Refused(413, f"{name[:200] or 'body'}: an object of {len(value):,} keys, at most {_MOST_KEYS}")
            if keys > _MOST_KEYS_IN_ALL:
                raise Refused(413, f"JSON whose objects have over {_MOST_KEYS_IN_ALL:,} keys together: send less")
            open_values += [(key, item) for key, item in value.items() if isinstance(item, (dict, list))]
        elif isinstance(value, list):
            if len(value) > most:
                what = "documents" if name == "documents" else "items"
                message = f"{len(value):,} {what}, at most {most:,} in one request: split"
                raise Refused(413, message, param=name[:200] or None, index=most if name == "documents" else None)
            open_values += [(name, item) for item in value if isinstance(item, (dict, list))]
