"""`/v1/documents`: a client sends a document once, and its rankings name it by an id."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Request, Response, Security, UploadFile

from ziprerank.errors import InvalidInput
from ziprerank.serve.exchange import AdmittedRoute
from ziprerank.serve.failures import Refused, reason_of
from ziprerank.serve.routes import ERRORS, AnyPermit, AnyService, bearer
from ziprerank.serve.schemas import MOST_PASSWORD, ErrorResponse, KeptDocument
from ziprerank.serve.stored import Stored

_PATH = "/v1/documents"
_NOT_THERE: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorResponse, "description": "There is no such document for this key, or none at all"}
}
_OFF: dict[int | str, dict[str, Any]] = {404: {"model": ErrorResponse, "description": "The server keeps no documents"}}


def _sender(request: Request, service: AnyService) -> str:
    return service.check_key(request.headers)


Sender = Annotated[str, Depends(_sender)]
uploads = APIRouter(
    route_class=AdmittedRoute, dependencies=[Security(bearer)], responses={**ERRORS, **_OFF}, tags=["documents"]
)
kept = APIRouter(dependencies=[Security(bearer)], responses={401: ERRORS[401], **_NOT_THERE}, tags=["documents"])


@uploads.post(
    _PATH, status_code=201, summary="Keep a document", responses={200: {"description": "It was there already"}}
)
async def keep(
    service: AnyService,
    permit: AnyPermit,
    response: Response,
    file: Annotated[UploadFile, File(description="A PDF or an image of the formats that `documents` may have.")],
    password: Annotated[
        str | None, Form(max_length=MOST_PASSWORD, description="To open an encrypted PDF; it is not kept.")
    ] = None,
) -> KeptDocument:
    """Keeps a PDF or an image for a while, so that rankings name it by `document_id` in place of its bytes.

    Of one that has more pages than a ranking takes (`max_pages`), rankings name some by `pages`.

    Only the key that sent it finds it, and only in this process of the server.
    """
    data = await file.read()
    service.documents.check(len(data))
    try:
        pages = await service.count_pages(data, password)
    except InvalidInput as error:
        raise Refused(422, f"file: {reason_of(error)}", param="file", kind="invalid_document") from error
    document, new = service.documents.add(permit.sender, data, pages)
    response.status_code = 201 if new else 200
    return _described(service, document)


@kept.get(f"{_PATH}/{{document_id}}", summary="A document that is kept")
async def describe(document_id: str, service: AnyService, sender: Sender) -> KeptDocument:
    """Says how many pages the document has, and until when it is kept."""
    return _described(service, service.documents.find(sender, document_id))


@kept.delete(f"{_PATH}/{{document_id}}", status_code=204, summary="Keep a document no longer")
async def delete(document_id: str, service: AnyService, sender: Sender) -> None:
    """Removes the document; a ranking that reads it goes on."""
    service.documents.delete(sender, document_id)


def _described(service: AnyService, document: Stored) -> KeptDocument:
    return KeptDocument(
        document_id=document.id,
        pages=document.pages,
        max_pages=service.settings.max_pages,
        bytes=len(document.data),
        expires_at=int(service.documents.expires_at(document)),
    )
