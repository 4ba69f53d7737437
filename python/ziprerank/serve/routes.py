"""The routes of the service."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Request, Response, Security, UploadFile
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import Field

from ziprerank._version import __version__
from ziprerank.budget import BUDGET
from ziprerank.first_stage.stage import CANDIDATES, CANDIDATES_HELP, FIRST_STAGE, FirstStage
from ziprerank.inputs.bad_pages import ON_BAD_PAGE, OnBadPage
from ziprerank.scales import SCALE, Scale
from ziprerank.serve.admission import Permit
from ziprerank.serve.dialects.answers import document_of
from ziprerank.serve.dialects.table import BEDROCK_PATH, DIALECTS, SHARED_PATHS
from ziprerank.serve.events import Events, event_schema, wants_events
from ziprerank.serve.exchange import AdmittedRoute
from ziprerank.serve.failures import Refused
from ziprerank.serve.pieces import Piece, read_document
from ziprerank.serve.schemas import (
    MOST_ID,
    MOST_PASSWORD,
    MOST_QUERY,
    MOST_RANGE,
    STREAM,
    ErrorResponse,
    Extra,
    Options,
    RerankRequest,
    RerankResponse,
)
from ziprerank.serve.service import Service
from ziprerank.strategies import STRATEGY, StrategyOption
from ziprerank.windows import MAX_WINDOW

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": text}
    for status, text in {
        400: "The body is not valid JSON, or not a valid form",
        401: "The API key is missing or wrong",
        403: "A web page of another site asks",
        404: "A document_id is unknown, has expired, or is another key's; or the server keeps no documents",
        408: "The body arrived too slowly",
        413: "The request is too large",
        415: "The content type is not JSON, or not a multipart form, or the body is compressed",
        421: "The server has no such name (Host)",
        422: "A field is invalid, a page cannot be ranked, or the answer would be too large",
        429: "The queue or the memory is full; see Retry-After",
        503: "The server is shutting down, cannot prepare pages, or lost its GPU",
        504: "The deadline passed before the request was answered",
        507: "The GPU has no memory for a request of this size",
    }.items()
}
bearer = HTTPBearer(auto_error=False, description="Needed if the server was started with an API key.")


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _permit(request: Request) -> Permit:
    permit: Permit = request.scope["permit"]
    return permit


def _events(request: Request, stream: bool | None) -> Events | None:
    """Returns the request's events if it asks for them."""
    events: Events = request.scope["events"]
    return events if wants_events(stream, request.headers.get("accept", "")) else None


AnyService = Annotated[Service, Depends(_service)]
AnyPermit = Annotated[Permit, Depends(_permit)]

IN_EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": event_schema()}}
_WINDOW = f"^(auto|off|{'|'.join(map(str, range(1, MAX_WINDOW + 1)))})$"

ranking = APIRouter(route_class=AdmittedRoute, dependencies=[Security(bearer)], responses=ERRORS, tags=["rerank"])
operations = APIRouter(tags=["operations"])


@ranking.post(
    "/v1/rerank", summary="Rerank (Jina, Cohere v1, vLLM)", responses=IN_EVENTS, response_model_exclude_none=True
)
@ranking.post("/v2/rerank", summary="Rerank (Cohere v2, vLLM)", responses=IN_EVENTS, response_model_exclude_none=True)
@ranking.post("/rerank", summary="Rerank (vLLM)", responses=IN_EVENTS, response_model_exclude_none=True)
async def rerank(request: Request, body: RerankRequest, service: AnyService, permit: AnyPermit) -> RerankResponse:
    """Reranks page images, whole PDFs, or texts drawn as pages by their relevance to a query.

    Bodies of other APIs are read too, and answered in their shapes: docs/clients.md.
    """
    dialect, asked = request.scope["dialect"], request.scope["asked"]
    pieces = [read_document(index, document) for index, document in enumerate(body.documents)]
    for piece in pieces:
        piece.list = asked.list
        if piece.beside is not None and not service.reads_text:
            asked.notes.append(f"{asked.list}[{piece.index}]: its text is not read: a page is ranked by its image")
    echo = None
    if body.return_documents:
        echo = [document_of(sent) for sent in asked.documents]
    answer = await service.rank(
        body.query,
        pieces,
        body,
        permit=permit,
        render_text=body.render_text,
        echo=echo,
        events=_events(request, body.stream),
    )
    if asked.notes:
        answer.meta.warnings = asked.notes + (answer.meta.warnings or [])
    return dialect.answer(answer, asked)  # type: ignore[no-any-return]  # a Response where it is another shape


for _path in sorted(DIALECTS.keys() - {*SHARED_PATHS, BEDROCK_PATH}):
    ranking.add_api_route(_path, rerank, methods=["POST"], include_in_schema=False)
bedrock = APIRouter(route_class=AdmittedRoute, strict_content_type=False)
bedrock.add_api_route(BEDROCK_PATH, rerank, methods=["POST"], include_in_schema=False)


@ranking.post(
    "/v1/rerank/files", summary="Rerank uploaded files", responses=IN_EVENTS, response_model_exclude_none=True
)
async def rerank_files(
    request: Request,
    service: AnyService,
    permit: AnyPermit,
    query: Annotated[str, Form(min_length=1, max_length=MOST_QUERY)],  # FastAPI reads an empty field as none
    files: Annotated[
        list[UploadFile], File(description="PDFs and images of the formats that `documents` may have.")
    ] = [],  # noqa: B006 - FastAPI copies it
    document_id: Annotated[
        list[Annotated[str, Field(max_length=MOST_ID)]],
        Form(description="Ids that `/v1/documents` answered, in place of files or behind them."),
    ] = [],  # noqa: B006
    pages: Annotated[
        str | None,
        Form(max_length=MOST_RANGE, description="Pages of each PDF or TIFF, from 1: `1-20`, `3`, `5-` or `1-4,9`."),
    ] = None,
    password: Annotated[str | None, Form(max_length=MOST_PASSWORD, description="Password of encrypted PDFs.")] = None,
    top_n: Annotated[int | None, Form(ge=0)] = None,
    keep_ratio: Annotated[float | None, Form(gt=0, le=1, allow_inf_nan=False)] = None,
    window: Annotated[str, Form(pattern=_WINDOW)] = "auto",
    stride: Annotated[int | None, Form(ge=1)] = None,
    strategy: Annotated[StrategyOption, Form(description=STRATEGY)] = "auto",
    first_stage: Annotated[FirstStage, Form(description=FIRST_STAGE)] = "auto",
    candidates: Annotated[int | None, Form(ge=1, description=f"{CANDIDATES_HELP} Otherwise {CANDIDATES}.")] = None,
    budget_ms: Annotated[float | None, Form(gt=0, allow_inf_nan=False, description=BUDGET)] = None,
    instruction: Annotated[str | None, Form(max_length=MOST_QUERY)] = None,
    on_bad_page: Annotated[OnBadPage | None, Form(description=f"{ON_BAD_PAGE} Default: the server's.")] = None,
    scale: Annotated[Scale | None, Form(description=f"{SCALE} Default: the server's.")] = None,
    include: Annotated[list[Extra], Form(), Field(max_length=8)] = [],  # noqa: B006 - FastAPI copies it
    thumbnail_side: Annotated[int, Form(ge=32, le=1024)] = 320,
    stream: Annotated[bool | None, Form(description=STREAM)] = None,
) -> RerankResponse:
    """Does the same as `/v1/rerank` for files uploaded in a form, now or before.

    A result's `index` is the position of its file among `files`, and then those of `document_id`.
    """
    if not files and not document_id:
        raise Refused(422, "files: a file is needed, or a document_id", param="files")
    options = Options(
        top_n=top_n,
        keep_ratio=keep_ratio,
        window=window if window in ("auto", "off") else int(window),  # type: ignore[arg-type]
        stride=stride,
        strategy=strategy,
        first_stage=first_stage,
        candidates=candidates,
        budget_ms=budget_ms,
        instruction=instruction,
        on_bad_page=on_bad_page,
        scale=scale,
        include=include,
        thumbnail_side=thumbnail_side,
    )
    pieces = [
        Piece(index, None, await file.read(), pages=pages, password=password, list="files")
        for index, file in enumerate(files)
    ]
    pieces += [
        Piece(index, None, one, pages=pages, password=password, list="document_id", before=len(files), stored=True)
        for index, one in enumerate(document_id, len(files))
    ]
    return await service.rank(query, pieces, options, permit=permit, events=_events(request, stream))


@operations.get("/health")
async def health() -> dict[str, str]:
    """Answers as long as the process runs."""
    return {"status": "ok"}


@operations.get("/ready", responses={503: {"description": "The server cannot rank, warms up or shuts down"}})
async def ready(service: AnyService) -> Response:
    """Tells whether the server ranks: the model has run once, pages can be prepared, and it is not shutting down."""
    reason = await service.not_ready()
    return JSONResponse({"status": "ready" if reason is None else reason}, 200 if reason is None else 503)


@operations.get("/info", dependencies=[Security(bearer)], responses={401: ERRORS[401]})
async def info(request: Request, service: AnyService) -> dict[str, Any]:
    """Describes the model, the hardware that it runs on, and the server's defaults and limits."""
    service.check_key(request.headers)
    bundle, engine, settings = service.reranker.bundle, service.reranker.engine.info, service.settings
    limits = service.reranker.page_limits
    return {
        "name": "ziprerank",
        "version": __version__,
        "model": service.model_name,
        "bundle_id": bundle.bundle_id,
        "precision": bundle.precision,
        "scoring": bundle.prompt.scoring,
        "provider": engine["provider"],
        "runtime_version": engine.get("runtime_version", ""),
        "image": {
            "longest_side": bundle.image.longest_side,
            "dpi": bundle.image.dpi,
            "token": bundle.image.factor,
        },
        "defaults": {
            "keep_ratio": bundle.defaults.keep_ratio,
            "window": bundle.defaults.window,
            "stride": bundle.defaults.stride,
            "instruction": bundle.prompt.instruction,
            "render_text": settings.render_text,
            "on_bad_page": settings.on_bad_page,
            "scale": settings.scale,
        },
        "limits": {
            "queue": settings.queue,
            "timeout_s": settings.timeout,
            "timeout_per_page_s": settings.timeout_per_page,
            "drain_s": settings.drain,
            "max_body_bytes": settings.max_body_bytes,
            "max_answer_bytes": settings.max_answer_bytes,
            "max_stored_bytes": settings.max_stored_bytes,
            "max_stored_bytes_per_key": settings.max_stored_bytes_per_key,
            "keep_stored_s": settings.keep_stored,
            "max_pages": settings.max_pages,
            "max_image_pixels": settings.max_image_pixels,
            "max_total_pixels": settings.max_total_pixels,
            "page_timeout_s": limits.timeout,
            "page_memory_bytes": limits.memory,
            "max_prompt_tokens": service.reranker.prompts.max_tokens,
        },
        "page_workers": limits.processes,
        "fetch": settings.fetch,
        "page_cache": service.reranker.engine.pool,
        "disk_cache": None if service.reranker.page_cache is None else service.reranker.page_cache.stats(),
    }


@operations.get("/metrics", response_class=Response, dependencies=[Security(bearer)], responses={401: ERRORS[401]})
async def metrics(request: Request, service: AnyService) -> Response:
    """Returns the metrics in Prometheus' text format."""
    if service.settings.guard_metrics:
        service.check_key(request.headers)
    return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)
