"""The operator's settings of the service; each one is a flag of ``ziprerank serve`` and an environment variable."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ziprerank.errors import InvalidInput
from ziprerank.inputs.bad_pages import OnBadPage, check_on_bad_page
from ziprerank.runtime.cpus import usable_cpus
from ziprerank.scales import Scale, check_scale
from ziprerank.windows import MAX_WINDOW

Fetch = Literal["off", "public", "listed"]

MIB = 1 << 20
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_COUNTS = (
    *("queue", "workers", "max_connections", "max_connections_per_address", "keep_alive"),
    *("max_body_bytes", "max_held_bytes", "max_answer_bytes", "max_pages", "max_image_pixels", "max_total_pixels"),
    *("fetch_bytes", "max_stored_bytes_per_key"),
)
_SECONDS = ("timeout", "drain", "header_timeout", "body_timeout", "answer_timeout", "fetch_timeout", "keep_stored")


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits and options of one service.

    Attributes:
        model_name: The name in answers; None is the name of the bundle's checkpoint.
        api_keys: A client needs one of these keys to rank and for ``/info``; if empty, no key is needed.
        guard_metrics: Whether ``/metrics`` needs one too.
        cache_per_key: Whether page features are found again only by requests with the same API key, so that no client
            learns from the time of its answers which pages another one had ranked.
        cors_origins: Origins of web pages that may call the service, such as ``https://app.example``; ``*`` is any.
        cors_headers: Headers that these pages may send, such as ``Authorization``; ``*`` is any.
        allowed_hosts: Names that requests may call the service by (their Host header); empty is any name.
        web_page: Whether ``/`` serves the web page.
        root_path: Prefix of the public paths, such as ``/ranker``, where a proxy serves other things too; requests are
            answered with and without it.
        uds: Path of a Unix domain socket to listen at, in place of a port.
        ssl_certfile: Certificate for HTTPS, a PEM file; None is plain HTTP.
        ssl_keyfile: Private key of the certificate, a PEM file; None: it is in ``ssl_certfile``.
        queue: Most requests under way: being prepared, waiting for the engine, or running. A request that still
            arrives is not one of them.
        timeout: Most seconds from a request's header to its answer, for as many pages as a pass takes, 20.
        timeout_per_page: Seconds more for each further page; 0 is ``timeout`` for any number.
        drain: Seconds that accepted requests have after SIGTERM.
        workers: Pages of a request that are prepared at a time while the engine runs; at most ``page_workers`` of them
            advance.
        max_connections: Most connections open at the same time. A further one takes the place of one that sends
            nothing.
        max_connections_per_address: Most connections of one client address.
        header_timeout: Most seconds from a connection's start, or a further request's first byte, to the end of the
            request's header.
        body_timeout: Most seconds from a request's header to the end of its body.
        answer_timeout: Most seconds in which a client reads an answer.
        keep_alive: Seconds for which a connection stays open between two requests.
        max_body_bytes: Most bytes of one request's body.
        max_held_bytes: Most bytes of the bodies, fetched files and answers of all requests together, counted as they
            come.
        max_answer_bytes: Most bytes of one answer.
        max_stored_bytes: Most bytes of the documents that are kept for further requests, in memory; 0 keeps none.
        max_stored_bytes_per_key: Most of them for one API key, where the service has keys.
        keep_stored: Seconds for which a document is kept after it was sent or ranked.
        max_pages: Most documents, and most candidate pages, of one request; the longest deadline is that of so many.
        max_image_pixels: Most pixels of one image, checked before it is decoded; A4 at 600 dpi has 35 million.
        max_total_pixels: Most pixels of all images of one request together.
        fetch: Which URLs the server fetches: ``"off"`` none, ``"public"`` those of hosts with public addresses,
            ``"listed"`` those of ``fetch_hosts``.
        fetch_hosts: Hosts such as ``example.com`` or ``*.example.com``; a listed host may have a private address.
        fetch_bytes: Most bytes of one fetched file.
        fetch_timeout: Most seconds to fetch one file.
        render_text: Whether texts are drawn as pages, unless a request says otherwise by its own ``render_text``.
        text_font: Main font of texts that are drawn; None is DejaVu Sans, which has Latin, Greek and Cyrillic. Fonts of
            this machine draw what it lacks.
        on_bad_page: What becomes of pages and documents that cannot be shown, unless a request says otherwise.
        scale: What ``relevance_score`` is, unless a request says otherwise (``scales.py``).

    Raises:
        InvalidInput: With these values no request could be answered.
    """

    model_name: str | None = None
    api_keys: tuple[str, ...] = ()
    guard_metrics: bool = False
    cache_per_key: bool = False
    cors_origins: tuple[str, ...] = ()
    cors_headers: tuple[str, ...] = ("*",)
    allowed_hosts: tuple[str, ...] = ()
    web_page: bool = True
    root_path: str = ""
    uds: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None

    queue: int = 16
    timeout: float = 60.0
    timeout_per_page: float = 1.0
    drain: float = 30.0
    workers: int = field(default_factory=lambda: min(4, usable_cpus()))

    max_connections: int = 512
    max_connections_per_address: int = 256
    header_timeout: float = 10.0
    body_timeout: float = 30.0
    answer_timeout: float = 30.0
    keep_alive: int = 5

    max_body_bytes: int = 64 * MIB
    max_held_bytes: int = 256 * MIB
    max_answer_bytes: int = 32 * MIB
    max_stored_bytes: int = 256 * MIB
    max_stored_bytes_per_key: int = 128 * MIB
    keep_stored: float = 3_600.0
    max_pages: int = 2_500
    max_image_pixels: int = 40_000_000
    max_total_pixels: int = 1_500_000_000

    fetch: Fetch = "off"
    fetch_hosts: tuple[str, ...] = ()
    fetch_bytes: int = 32 * MIB
    fetch_timeout: float = 10.0

    render_text: bool = False
    text_font: Path | None = None
    on_bad_page: OnBadPage = "raise"
    scale: Scale = "probability"

    def __post_init__(self) -> None:
        self._check_numbers()
        if self.fetch not in ("off", "public", "listed"):
            raise InvalidInput(f"fetch {self.fetch!r}: must be 'off', 'public' or 'listed'")
        if (self.fetch == "listed") != bool(self.fetch_hosts):
            raise InvalidInput(f"fetch {self.fetch!r} with {len(self.fetch_hosts)} hosts: give hosts for 'listed' only")
        if self.max_held_bytes < self.max_body_bytes:
            raise InvalidInput(
                f"max_held_bytes {self.max_held_bytes:,} is under max_body_bytes {self.max_body_bytes:,}: raise it"
            )
        for name in ("guard_metrics", "cache_per_key"):
            if getattr(self, name) and not self.api_keys:
                raise InvalidInput(f"{name} without API keys: give keys, or leave it out")
        check_on_bad_page(self.on_bad_page)
        if self.root_path and not _PREFIX.fullmatch(self.root_path):
            raise InvalidInput(f"root_path {self.root_path!r}: must be like /ranker, without a slash at the end")
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise InvalidInput("ssl_keyfile without ssl_certfile: give both, or neither")
        check_scale(self.scale)
        if any(not key.strip() for key in self.api_keys):
            raise InvalidInput("an API key is empty: leave it out, or give one")

    def _check_numbers(self) -> None:
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} {getattr(self, name)}: must be at least 1")
        for name in _SECONDS:
            if not 0 < getattr(self, name) < 86_400:
                raise InvalidInput(f"{name} {getattr(self, name)}: must be over 0 and under 86400 seconds")
        if not 0 <= self.timeout_per_page < 3_600:
            raise InvalidInput(f"timeout_per_page {self.timeout_per_page}: must be at least 0 and under 3600 seconds")
        if self.max_stored_bytes < 0:
            raise InvalidInput(f"max_stored_bytes {self.max_stored_bytes}: must be at least 0, which keeps none")

    def seconds_for(self, pages: int) -> float:
        """Returns the most seconds from a request's header to its answer, if it has so many pages."""
        return self.timeout + self.timeout_per_page * max(0, pages - MAX_WINDOW)

    @property
    def longest(self) -> float:
        """The most seconds that any request has."""
        return self.seconds_for(self.max_pages)
