"""Builds the ASGI application: routes, error handlers, middleware, and the service that they share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from ziprerank._version import __version__
from ziprerank.errors import ZipRerankError
from ziprerank.reranker import Reranker
from ziprerank.serve.browsers import OtherSites, page_headers
from ziprerank.serve.dialects.table import DIALECTS
from ziprerank.serve.exchange import answer_error
from ziprerank.serve.logs import logger
from ziprerank.serve.models import HeadAsGet, models
from ziprerank.serve.openapi import describe
from ziprerank.serve.prefix import EndingSlash, Prefixed, check_prefix
from ziprerank.serve.routes import bedrock, operations, ranking
from ziprerank.serve.service import Service
from ziprerank.serve.settings import Settings
from ziprerank.serve.telemetry import Telemetry
from ziprerank.serve.uploads import kept, uploads

STATIC = Path(__file__).parent / "static"


def create_app(reranker: Reranker, settings: Settings | None = None) -> FastAPI:
    """Builds the HTTP service around a reranker.

    Args:
        reranker: Ranks the pages.
        settings: Limits and options; None is the defaults.

    Returns:
        The application, with its ``Service`` as ``app.state.service``.

    Raises:
        InvalidInput: ``settings.text_font`` cannot be read as a font, or ``settings.root_path`` begins a path of the
            service.
    """
    service = Service(reranker, settings or Settings())
    app = FastAPIOffline(
        title="ziprerank",
        version=__version__,
        summary="Reranks document pages from their images.",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # EndingSlash takes both
        # tracing.py makes the spans; newer releases of FastAPI would make a second one of each request
        telemetry={"tracing": False, "logs": False},
    )
    app.add_api_route("/docs", _docs, include_in_schema=False)
    app.state.service = service
    app.include_router(ranking)
    app.include_router(uploads)
    app.include_router(kept)
    app.include_router(operations)
    app.include_router(models)
    app.include_router(bedrock)
    for error in (HTTPException, RequestValidationError, ZipRerankError):
        app.add_exception_handler(error, _answer_error)
    if service.settings.web_page:
        app.mount("/static", StaticFiles(directory=STATIC), name="static")
        app.add_api_route("/", _page, include_in_schema=False)
    describe(app, service.settings)
    paths = set(app.openapi()["paths"]) | set(DIALECTS) | {"/", "/docs", "/openapi.json"}
    origins = service.settings.cors_origins
    app.add_middleware(HeadAsGet)
    app.add_middleware(OtherSites, hosts=service.settings.allowed_hosts, origins=origins)
    app.add_middleware(Telemetry, metrics=service.metrics, paths=paths)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=service.settings.cors_headers,
            expose_headers=["Retry-After", "X-Request-ID", "X-Warnings", "traceparent"],
        )
    app.add_middleware(EndingSlash)
    if prefix := service.settings.root_path:
        check_prefix(prefix, paths - {"/"})
        app.add_middleware(Prefixed, prefix=prefix)
    return app


async def _page() -> FileResponse:
    return FileResponse(STATIC / "index.html", headers=page_headers())


async def _docs(request: Request) -> HTMLResponse:
    files = f"{request.scope.get('root_path', '')}/static-offline-docs"
    page = get_swagger_ui_html(
        openapi_url=f"{request.scope.get('root_path', '')}/openapi.json",
        title="ziprerank - Swagger UI",
        swagger_js_url=f"{files}/swagger-ui-bundle.js",
        swagger_css_url=f"{files}/swagger-ui.css",
        swagger_favicon_url=f"{files}/favicon.png",
    )
    page.headers.update(page_headers(bytes(page.body).decode()))
    return page


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    warm_up = asyncio.ensure_future(service.warm_up())
    warm_up.add_done_callback(_report)
    try:
        yield
    finally:
        warm_up.cancel()
        await asyncio.wait([warm_up])
        await service.close()


def _report(warm_up: asyncio.Future[None]) -> None:
    if not warm_up.cancelled() and (error := warm_up.exception()):
        logger.error("the warm-up failed: the service will not become ready", exc_info=error)


async def _answer_error(request: Request, error: Exception) -> Response:
    return answer_error(request, error)
