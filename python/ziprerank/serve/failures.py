"""Errors as HTTP answers: one body that clients of Cohere, Jina, vLLM and FastAPI all understand.

``{"error": {"message", "type", "param", "code", "index"}, "message", "detail"}``; ``param`` is the field at fault
(``documents[3].image``), ``index`` the document, ``code`` the HTTP status, as vLLM has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ziprerank.errors import InvalidInput, PageError, PoolError
from ziprerank.serve.schemas import OBJECTS, STRING

_TYPES = {
    400: "bad_request",
    401: "authentication_error",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    429: "queue_full",
    503: "unavailable",
    504: "deadline_exceeded",
}
_TAGS = {STRING, *OBJECTS.values()}


class Refused(HTTPException):
    """An answer that is no ranking. ``kind`` is the error's type, by default the status's own."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        index: int | None = None,
        kind: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, headers=headers)
        self.param = param
        self.index = index
        self.kind = kind


def refuse_page(error: InvalidInput, param: str, index: int) -> Refused:
    """A page of document ``index``, which was sent as ``param``, that the library refused."""
    reason = error.reason if isinstance(error, PageError) else str(error)
    page = f", page {error.page}" if isinstance(error, PageError) and error.page is not None else ""
    reason = reason.replace("with Pdf(..., password=...)", "in the field password")
    return Refused(422, f"{param}{page}: {reason}", param=param, index=index, kind="invalid_document")


def answer(
    status: int, message: str, error: Refused | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The body above. Text that is not valid Unicode, which a client may have sent, is escaped."""
    message = message.encode("utf-8", "backslashreplace").decode()
    detail: dict[str, Any] = {"message": message, "type": _TYPES.get(status, "error"), "param": None, "code": status}
    if error is not None:
        detail["type"] = error.kind or detail["type"]
        detail["param"] = error.param
        if error.index is not None:
            detail["index"] = error.index
    return JSONResponse({"error": detail, "message": message, "detail": message}, status, headers=headers)


def from_exception(error: Exception) -> JSONResponse:
    """The answer to any exception; those that nobody foresaw say nothing about the server."""
    if isinstance(error, RequestValidationError):
        error = _first_of(error.errors())
    elif isinstance(error, PoolError):
        error = Refused(422, str(error), param="documents", kind="pages_too_large")
    elif isinstance(error, InvalidInput):
        error = Refused(422, str(error))
    if isinstance(error, Refused):
        return answer(error.status_code, error.detail, error, error.headers)
    if isinstance(error, HTTPException):
        return answer(error.status_code, str(error.detail), headers=error.headers)
    return answer(500, "the server failed; its log has the reason under this answer's X-Request-ID")


def _first_of(errors: Sequence[Mapping[str, Any]]) -> Refused:
    """The first thing that is wrong with a body; what the client sent is not echoed."""
    first = errors[0]
    place = list(first["loc"])
    if place[:1] == ["body"]:
        del place[0]
    if first["type"] == "json_invalid":
        return Refused(400, f"the body is not valid JSON: {first.get('ctx', {}).get('error', first['msg'])}")
    param, index = _param(place)
    if not place and isinstance(first.get("input"), bytes):
        return Refused(415, "the body is not announced as JSON: send Content-Type: application/json")
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Refused(422, f"{param or 'body'}: {first['msg']}{more}", param=param or None, index=index)


def _param(place: Sequence[str | int]) -> tuple[str, int | None]:
    """``("documents", 3, "an object with image", "image")`` -> ``"documents[3].image", 3``; without union cases."""
    param, index = "", None
    for part in place:
        if isinstance(part, int):
            index = part if param in ("documents", "files") else index
            param += f"[{part}]"
        elif part not in _TAGS:
            param += f".{part}" if param else part
    return param[:200], index
