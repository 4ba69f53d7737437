"""``ziprerank serve``: the HTTP service (extra ``serve``). Every option is also a variable, ``ZIPRERANK_...``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ziprerank.cli.extras import needs_extra
from ziprerank.cli.options import with_engine_options
from ziprerank.inputs.bad_pages import ON_BAD_PAGE, OnBadPage
from ziprerank.runtime.engine import EngineOptions
from ziprerank.scales import SCALE, Scale
from ziprerank.serve.settings import MIB, Settings

_DEFAULT = Settings()


def _option(variable: str, text: str, **more: Any) -> Any:
    return typer.Option(envvar=f"ZIPRERANK_{variable}", help=text, **more)


@with_engine_options(variables=True)
def serve(
    *,
    host: Annotated[str, _option("HOST", "Address to listen on; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, _option("PORT", "Port; 0 takes a free one, which the log names.")] = 8000,
    model_name: Annotated[str | None, _option("MODEL_NAME", "Name in answers; default: the checkpoint's.")] = None,
    api_key: Annotated[list[str] | None, _option("API_KEY", "Key that clients send; may be repeated.")] = None,
    guard_metrics: Annotated[bool, _option("GUARD_METRICS", "/metrics needs a key too.")] = _DEFAULT.guard_metrics,
    cache_per_key: Annotated[
        bool, _option("CACHE_PER_KEY", "Page features are found again by the same API key only.")
    ] = _DEFAULT.cache_per_key,
    cors_origin: Annotated[list[str] | None, _option("CORS_ORIGIN", "Origin of web pages that may call.")] = None,
    cors_header: Annotated[
        list[str] | None, _option("CORS_HEADER", "Header that these pages may send.", show_default="any")
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        _option(
            "ALLOWED_HOST",
            "Name by which clients call the server; may be repeated.",
            show_default="localhost if --host is a loopback address, else any; any with --uds",
        ),
    ] = None,
    web_page: Annotated[bool, _option("WEB_PAGE", "The page at /.")] = _DEFAULT.web_page,
    root_path: Annotated[
        str, _option("ROOT_PATH", "Prefix of the public paths behind a proxy, such as /ranker.")
    ] = _DEFAULT.root_path,
    uds: Annotated[Path | None, _option("UDS", "Listen at this Unix domain socket, not at a port.")] = None,
    ssl_certfile: Annotated[Path | None, _option("SSL_CERTFILE", "Certificate for HTTPS (PEM).")] = None,
    ssl_keyfile: Annotated[
        Path | None, _option("SSL_KEYFILE", "Its private key (PEM).", show_default="in --ssl-certfile")
    ] = None,
    queue: Annotated[int, _option("QUEUE", "Requests under way at once; more get 429.")] = _DEFAULT.queue,
    timeout: Annotated[
        float, _option("TIMEOUT", "Seconds from a request's start to its answer, for up to 20 pages.")
    ] = _DEFAULT.timeout,
    timeout_per_page: Annotated[
        float, _option("TIMEOUT_PER_PAGE", "Seconds more for each page beyond the 20 of a pass.")
    ] = _DEFAULT.timeout_per_page,
    drain: Annotated[float, _option("DRAIN", "Seconds for accepted requests after SIGTERM.")] = _DEFAULT.drain,
    workers: Annotated[
        int, _option("WORKERS", "Pages of a request prepared at a time.", show_default="CPUs, at most 4")
    ] = _DEFAULT.workers,
    max_connections: Annotated[
        int, _option("MAX_CONNECTIONS", "Connections open at once; a new one replaces a silent one.")
    ] = _DEFAULT.max_connections,
    max_connections_per_address: Annotated[
        int, _option("MAX_CONNECTIONS_PER_ADDRESS", "Connections of one client; raise it behind a proxy.")
    ] = _DEFAULT.max_connections_per_address,
    header_timeout: Annotated[
        float, _option("HEADER_TIMEOUT", "Seconds for a request's header to arrive.")
    ] = _DEFAULT.header_timeout,
    body_timeout: Annotated[
        float, _option("BODY_TIMEOUT", "Seconds for a request's body to arrive.")
    ] = _DEFAULT.body_timeout,
    answer_timeout: Annotated[
        float, _option("ANSWER_TIMEOUT", "Seconds for a client to read its answer.")
    ] = _DEFAULT.answer_timeout,
    keep_alive: Annotated[
        int, _option("KEEP_ALIVE", "Seconds that a connection stays open between requests.")
    ] = _DEFAULT.keep_alive,
    max_body_mib: Annotated[int, _option("MAX_BODY_MIB", "Largest request.")] = _DEFAULT.max_body_bytes // MIB,
    max_held_mib: Annotated[
        int, _option("MAX_HELD_MIB", "Bodies, fetched files and answers of all requests together.")
    ] = _DEFAULT.max_held_bytes // MIB,
    max_answer_mib: Annotated[int, _option("MAX_ANSWER_MIB", "Largest answer.")] = _DEFAULT.max_answer_bytes // MIB,
    max_stored_mib: Annotated[
        int, _option("MAX_STORED_MIB", "Documents kept for further requests, in memory; 0 keeps none.")
    ] = _DEFAULT.max_stored_bytes // MIB,
    max_stored_mib_per_key: Annotated[
        int, _option("MAX_STORED_MIB_PER_KEY", "Those of one API key.")
    ] = _DEFAULT.max_stored_bytes_per_key // MIB,
    keep_stored: Annotated[
        float, _option("KEEP_STORED", "Seconds that a document is kept after its last use.")
    ] = _DEFAULT.keep_stored,
    max_pages: Annotated[int, _option("MAX_PAGES", "Pages of one request.")] = _DEFAULT.max_pages,
    max_image_pixels: Annotated[int, _option("MAX_IMAGE_PIXELS", "Pixels of one image.")] = _DEFAULT.max_image_pixels,
    max_total_pixels: Annotated[
        int, _option("MAX_TOTAL_PIXELS", "Pixels of a request's images.")
    ] = _DEFAULT.max_total_pixels,
    fetch: Annotated[
        Literal["off", "public", "listed"],
        _option("FETCH", "Fetch documents by URL: never, from public addresses, or from listed hosts."),
    ] = _DEFAULT.fetch,
    fetch_host: Annotated[list[str] | None, _option("FETCH_HOST", "Listed host: example.com, *.example.com.")] = None,
    fetch_mib: Annotated[int, _option("FETCH_MIB", "Largest file fetched.")] = _DEFAULT.fetch_bytes // MIB,
    fetch_timeout: Annotated[float, _option("FETCH_TIMEOUT", "Seconds for one file.")] = _DEFAULT.fetch_timeout,
    render_text: Annotated[
        bool, _option("RENDER_TEXT", "Draw texts as pages, unless a request says otherwise.")
    ] = _DEFAULT.render_text,
    text_font: Annotated[
        Path | None, _option("TEXT_FONT", "Main font file of texts.", show_default="DejaVu Sans")
    ] = None,
    on_bad_page: Annotated[
        OnBadPage, _option("ON_BAD_PAGE", f"{ON_BAD_PAGE} A request may say otherwise.")
    ] = _DEFAULT.on_bad_page,
    scale: Annotated[Scale, _option("SCALE", f"{SCALE} A request may say otherwise.")] = _DEFAULT.scale,
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _option("LOG_LEVEL", "JSON log.")] = "info",
    engine: EngineOptions,
) -> None:
    """Serve reranking over HTTP, as Cohere, Jina and vLLM do, with a page to try it at /."""
    with needs_extra("serve"):
        from ziprerank.serve.app import create_app
        from ziprerank.serve.logs import start_logging
        from ziprerank.serve.server import serve as run
        from ziprerank.serve.sockets import check_certificate, hosts_of, listen, listen_at
    from ziprerank.reranker import Reranker

    settings = Settings(
        model_name=model_name,
        api_keys=tuple(api_key or ()),
        guard_metrics=guard_metrics,
        cache_per_key=cache_per_key,
        cors_origins=tuple(cors_origin or ()),
        cors_headers=tuple(cors_header or _DEFAULT.cors_headers),
        allowed_hosts=tuple(allowed_host or (() if uds else hosts_of(host))),
        web_page=web_page,
        root_path=root_path,
        uds=uds,
        ssl_certfile=ssl_certfile,
        ssl_keyfile=ssl_keyfile,
        queue=queue,
        timeout=timeout,
        timeout_per_page=timeout_per_page,
        drain=drain,
        workers=workers,
        max_connections=max_connections,
        max_connections_per_address=max_connections_per_address,
        header_timeout=header_timeout,
        body_timeout=body_timeout,
        answer_timeout=answer_timeout,
        keep_alive=keep_alive,
        max_body_bytes=max_body_mib * MIB,
        max_held_bytes=max_held_mib * MIB,
        max_answer_bytes=max_answer_mib * MIB,
        max_stored_bytes=max_stored_mib * MIB,
        max_stored_bytes_per_key=max_stored_mib_per_key * MIB,
        keep_stored=keep_stored,
        max_pages=max_pages,
        max_image_pixels=max_image_pixels,
        max_total_pixels=max_total_pixels,
        fetch=fetch,
        fetch_hosts=tuple(fetch_host or ()),
        fetch_bytes=fetch_mib * MIB,
        fetch_timeout=fetch_timeout,
        render_text=render_text,
        text_font=text_font,
        on_bad_page=on_bad_page,
        scale=scale,
    )
    check_certificate(ssl_certfile, ssl_keyfile)
    bound = listen(host, port) if uds is None else listen_at(uds)
    app = create_app(Reranker.from_options(engine), settings)
    start_logging(log_level)
    run(app, bound)
