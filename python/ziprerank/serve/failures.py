"""Turns errors into HTTP answers with one body that clients of Cohere, Jina, vLLM and FastAPI all understand.

The body is ``{"error": {"message", "type", "param", "code", "index"}, "message", "detail"}``. ``param`` is the field at
fault (``documents[3].image``), ``index`` is the document's position, and ``code`` is the HTTP status, as in vLLM.
``detail`` is the message too, or with status 422 a list of one ``{"loc", "msg", "type"}``, as FastAPI has it.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ziprerank.errors import (
    DeviceLost,
    DeviceMemoryError,
    InvalidInput,
    PageError,
    PoolError,
    WorkerError,
    said_for,
    shortened,
)
from ziprerank.serve.schemas import OBJECTS, STRING

_TYPES = {
    400: "bad_request",
    401: "authentication_error",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "too_large",
    415: "unsupported_media_type",
    421: "misdirected_request",
    422: "invalid_request",
    429: "queue_full",
    503: "unavailable",
    504: "deadline_exceeded",
    507: "out_of_memory",
}
LEFT = 499  # status of requests whose client left, as nginx has it
PASSWORD_FIELD = "in the field password"
_PARTS = re.compile(r"[^.\[\]]+")
_TAGS = {STRING, *OBJECTS.values()}


class Refused(HTTPException):
    """An error with an HTTP status, for the client.

    Attributes:
        param: The field at fault.
        index: 0-based position of the document at fault.
        kind: The error's type in the body; None is the usual type of the status.
    """

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


@contextmanager
def at_fault(param: str) -> Iterator[None]:
    """Refuses what the library rejects in the block, naming the field ``param``. Raises Refused (422)."""
    try:
        yield
    except InvalidInput as error:
        raise Refused(422, str(error), param=param) from error


def reason_of(error: InvalidInput) -> str:
    """Returns why a page cannot be ranked, without its name, as it is said to clients."""
    return said_for(error.reason if isinstance(error, PageError) else str(error), PASSWORD_FIELD)


def refuse_page(error: InvalidInput, param: str, index: int) -> Refused:
    """Returns the HTTP error for a page that the library rejected.

    Args:
        error: What the library raised.
        param: The field that held the document.
        index: 0-based position of the document.
    """
    page = f", page {error.page}" if isinstance(error, PageError) and error.page is not None else ""
    return Refused(422, f"{param}{page}: {reason_of(error)}", param=param, index=index, kind="invalid_document")


def answer(
    status: int, message: str, error: Refused | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Returns an error in the body described above.

    Args:
        status: HTTP status.
        message: What is wrong; text from the client that is not valid Unicode is escaped, and a long message is cut as
            those of ``ZipRerankError`` are.
        error: Where ``type``, ``param`` and ``index`` come from; None leaves them at their defaults.
        headers: Further headers.
    """
    message = shortened(message).encode("utf-8", "backslashreplace").decode()
    detail: dict[str, Any] = {"message": message, "type": _TYPES.get(status, "error"), "param": None, "code": status}
    if error is not None:
        detail["type"] = error.kind or detail["type"]
        detail["param"] = error.param
        if error.index is not None:
            detail["index"] = error.index
    places: str | list[dict[str, Any]] = message
    if status == 422:
        loc = [int(part) if part.isdecimal() else part for part in _PARTS.findall(detail["param"] or "")]
        places = [{"loc": ["body", *loc], "msg": message, "type": detail["type"]}]
    return JSONResponse({"error": detail, "message": message, "detail": places}, status, headers=headers)


def from_exception(error: Exception, names: Mapping[str, str] | None = None) -> JSONResponse:
    """Returns the answer for any exception; unforeseen ones become a 500 that reveals nothing about the server.

    Args:
        error: The exception.
        names: The client's names of our fields, where they differ.
    """
    if isinstance(error, RequestValidationError):
        error = _first_of(error.errors(), names or {})
    elif isinstance(error, PoolError):
        error = Refused(422, str(error), param="documents", kind="pages_too_large")
    elif isinstance(error, InvalidInput):
        error = Refused(422, str(error))
    elif isinstance(error, DeviceMemoryError):
        error = Refused(507, str(error))
    elif isinstance(error, DeviceLost):
        error = Refused(503, str(error), kind="device_lost")
    elif isinstance(error, WorkerError):
        error = Refused(503, "the server cannot prepare pages at present; its log has the reason")
    if isinstance(error, Refused):
        return answer(error.status_code, error.detail, error, error.headers)
    if isinstance(error, HTTPException):
        return answer(error.status_code, str(error.detail), headers=error.headers)
    return answer(500, "the server failed; its log has the reason under this answer's X-Request-ID")


def _first_of(errors: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Refused:
    """Returns the first of a body's validation errors, without echoing what the client sent."""
    first = errors[0]
    place = list(first["loc"])
    if place[:1] == ["body"]:
        del place[0]
    if place:
        place[0] = names.get(place[0], place[0])
    if first["type"] == "json_invalid":
        return Refused(400, f"the body is not valid JSON: {first.get('ctx', {}).get('error', first['msg'])}")
    param, index = _param(place, {"documents", "files", names.get("documents", "")})
    if not place and isinstance(first.get("input"), bytes):
        return Refused(415, "the body is not declared as JSON: send Content-Type: application/json")
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Refused(422, f"{param or 'body'}: {first['msg']}{more}", param=param or None, index=index)


def _param(place: Sequence[str | int], lists: Container[str]) -> tuple[str, int | None]:
    """Converts pydantic's location to a field's path and the index of its document; names of union cases are left out.

    ``("documents", 3, "an object with image", "image")`` becomes ``("documents[3].image", 3)``.
    """
    param, index = "", None
    for part in place:
        if isinstance(part, int):
            index = part if param in lists else index
            param += f"[{part}]"
        elif part not in _TAGS:
            param += f".{part}" if param else part
    return param[:200], index
